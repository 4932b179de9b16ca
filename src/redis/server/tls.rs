//! TLS, with the certificates of the configuration.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

use super::Socket;
use crate::config::Tls;
use crate::error::Error;

/// What encrypts connections.
pub(super) struct Encryption(TlsConnector);

impl Encryption {
    /// # Errors
    /// A file that cannot be read, or holds no certificate or key.
    pub(super) fn new(tls: &Tls) -> Result<Self, Error> {
        connector(tls).map(Self)
    }

    /// Encrypts a connection to this host.
    pub(super) async fn encrypt(&self, host: &str, stream: TcpStream) -> io::Result<Box<dyn Socket>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        Ok(Box::new(self.0.connect(name, stream).await?))
    }
}

fn connector(tls: &Tls) -> Result<TlsConnector, Error> {
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(path) => {
            for certificate in certificates("tls-ca", path)? {
                roots.add(certificate).map_err(|error| unusable("tls-ca", path, error))?;
            }
        }
        None => {
            // What the system trusts; a broken one among many is no reason not to start.
            let (_, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::System { what: "cannot set up TLS", source: io::Error::other(error) })?
        .with_root_certificates(roots);
    let config = match (&tls.cert, &tls.key) {
        (Some(cert), Some(key_path)) => {
            let chain = certificates("tls-cert", cert)?;
            let key = PrivateKeyDer::from_pem_file(key_path)
                .map_err(|error| unusable("tls-key", key_path, error))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| unusable("tls-key", key_path, error))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

fn certificates(option: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| unusable(option, path, error))?;
    if certificates.is_empty() {
        return Err(unusable(option, path, "it holds no certificate in PEM form"));
    }
    Ok(certificates)
}

fn unusable(option: &'static str, path: &Path, error: impl ToString) -> Error {
    Error::File { option, path: path.to_owned(), source: io::Error::other(error.to_string()) }
}
