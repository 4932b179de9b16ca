//! Certificates for private servers.

use std::{
    fs::OpenOptions,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::{Error, config::quote, guard::Guard};

/// Which certificate the server requires from its clients (`tls-auth-clients`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    /// None: every client that trusts the CA can connect.
    Ignored,
    /// A client may present a certificate; one that the CA did not sign is refused.
    Optional,
    /// Only a client with a certificate signed by the CA can connect.
    Required,
}

/// A CA for one server, or for several servers that must trust each other, and the certificates that it signed. PEM
/// files in a folder that only its owner can open; the folder is removed with the last clone.
#[derive(Debug, Clone)]
pub struct Certificates(Arc<Files>);

#[derive(Debug)]
struct Files {
    /// Removes the folder when it is dropped.
    _guard: Guard,
    ca: PathBuf,
    server: PathBuf,
    server_key: PathBuf,
    client: PathBuf,
    client_key: PathBuf,
}

impl Certificates {
    /// The certificate of the CA, which clients must trust.
    pub fn ca(&self) -> &Path {
        &self.0.ca
    }

    /// The server's certificate, for `localhost`, `127.0.0.1` and `::1`.
    pub fn server(&self) -> &Path {
        &self.0.server
    }

    /// The private key of the server's certificate.
    pub fn server_key(&self) -> &Path {
        &self.0.server_key
    }

    /// A client's certificate, signed by the CA.
    pub fn client(&self) -> &Path {
        &self.0.client
    }

    /// The private key of the client's certificate.
    pub fn client_key(&self) -> &Path {
        &self.0.client_key
    }

    /// Creates the CA, the certificates and their keys.
    ///
    /// # Errors
    ///
    /// [`Error::Certificates`], or [`Error::Io`] with the file that could not be written.
    pub fn make() -> Result<Self, Error> {
        let guard = Guard::start().map_err(Error::io("make a temporary folder"))?;
        let folder = guard.folder();
        let authority_key = KeyPair::generate()?;
        let mut authority = named("redis-private-server CA", Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca = write(folder, "ca.crt", &authority.self_signed(&authority_key)?.pem())?;
        let authority = Issuer::new(authority, authority_key);

        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
        let (server, server_key) =
            signed(folder, "server", names, ExtendedKeyUsagePurpose::ServerAuth, &authority)?;
        let (client, client_key) =
            signed(folder, "client", Vec::new(), ExtendedKeyUsagePurpose::ClientAuth, &authority)?;
        Ok(Self(Arc::new(Files { _guard: guard, ca, server, server_key, client, client_key })))
    }

    pub(crate) fn config_lines(&self, clients: ClientCertificates) -> Vec<String> {
        let line = |name: &str, path: &Path| format!("{name} {}", quote(&path.to_string_lossy()));
        let clients = match clients {
            ClientCertificates::Ignored => "no",
            ClientCertificates::Optional => "optional",
            ClientCertificates::Required => "yes",
        };
        vec![
            line("tls-ca-cert-file", self.ca()),
            line("tls-cert-file", self.server()),
            line("tls-key-file", self.server_key()),
            format!("tls-auth-clients {clients}"),
            // Connections between nodes use TLS as well.
            "tls-replication yes".to_owned(),
            "tls-cluster yes".to_owned(),
        ]
    }
}

fn named(name: &str, alternative_names: Vec<String>) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::new(alternative_names)?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

fn signed(
    folder: &Path,
    role: &str,
    names: Vec<String>,
    purpose: ExtendedKeyUsagePurpose,
    authority: &Issuer<'_, KeyPair>,
) -> Result<(PathBuf, PathBuf), Error> {
    let key = KeyPair::generate()?;
    let mut params = named(&format!("redis-private-server {role}"), names)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // The server also presents its certificate as a client, to its primary and to its cluster.
    params.extended_key_usages = match purpose {
        ExtendedKeyUsagePurpose::ServerAuth => vec![purpose, ExtendedKeyUsagePurpose::ClientAuth],
        _ => vec![purpose],
    };
    // Strict verifiers (Python from 3.13 on) refuse a certificate that does not identify its issuer's key.
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, authority)?;
    let certificate = write(folder, &format!("{role}.crt"), &certificate.pem())?;
    Ok((certificate, write(folder, &format!("{role}.key"), &key.serialize_pem())?))
}

fn write(folder: &Path, name: &str, pem: &str) -> Result<PathBuf, Error> {
    let path = folder.join(name);
    let failed = || Error::io(format!("write {}", path.display()));
    let mut options = OpenOptions::new();
    let mut file = options.create_new(true).write(true).mode(0o600).open(&path).map_err(failed())?;
    file.write_all(pem.as_bytes()).map_err(failed())?;
    Ok(path)
}
