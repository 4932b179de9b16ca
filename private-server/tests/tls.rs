//! A server whose port uses TLS.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod common;

use std::{io, path::Path, sync::Arc};

use redis_private_server::{Certificates, ClientCertificates, PrivateServer, find_tls_capable, supports_tls};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    },
};

#[tokio::test]
async fn the_port_uses_tls_and_the_socket_does_not() {
    let server = PrivateServer::builder().tls(ClientCertificates::Optional).start().await.unwrap();
    assert_eq!(server.url(), format!("rediss://127.0.0.1:{}", server.port()));
    let certificates = server.certificates().unwrap();
    for name in ["127.0.0.1", "localhost"] {
        assert_eq!(ping(&server, name, certificates.ca(), None).await.unwrap(), "+PONG\r\n");
    }
    common::connect(&server.unix_url()).await;
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused_where_one_is_required() {
    let server = PrivateServer::builder().tls(ClientCertificates::Required).start().await.unwrap();
    let certificates = server.certificates().unwrap();
    let known = ping(&server, "127.0.0.1", certificates.ca(), Some(certificates)).await;
    assert_eq!(known.unwrap(), "+PONG\r\n");
    let stranger = ping(&server, "127.0.0.1", certificates.ca(), None).await;
    assert!(!matches!(stranger.as_deref(), Ok("+PONG\r\n")), "{stranger:?}");
}

#[tokio::test]
async fn another_servers_authority_is_not_trusted() {
    let server = PrivateServer::builder().tls(ClientCertificates::Ignored).start().await.unwrap();
    let other = PrivateServer::builder().tls(ClientCertificates::Ignored).start().await.unwrap();
    let wrong = other.certificates().unwrap().ca();
    assert!(ping(&server, "127.0.0.1", wrong, None).await.is_err());
}

#[test]
fn a_server_with_tls_is_found_and_its_tls_is_detected() {
    assert!(supports_tls(&find_tls_capable().unwrap()).unwrap());
}

async fn ping(
    server: &PrivateServer,
    name: &str,
    ca: &Path,
    client: Option<&Certificates>,
) -> io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match client {
        None => config.with_no_client_auth(),
        Some(certificates) => {
            let chain = vec![CertificateDer::from_pem_file(certificates.client()).unwrap()];
            let key = PrivateKeyDer::from_pem_file(certificates.client_key()).unwrap();
            config.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let stream = TcpStream::connect(server.addr()).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut reply = vec![0; 16];
    let length = stream.read(&mut reply).await?;
    reply.truncate(length);
    Ok(String::from_utf8(reply).unwrap())
}
