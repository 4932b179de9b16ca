//! The address of the server, with the login for it.

mod parse;
mod sentinels;

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

pub(crate) use self::sentinels::Sentinels;
use crate::credentials::{BoxError, Credentials, CredentialsProvider, Password, Provider};

/// A server's address and credentials, parsed from a URL.
///
/// | URL | means |
/// |---|---|
/// | `redis://[user[:password]@]host[:port][/db]` | TCP |
/// | `rediss://…` | TCP with TLS |
/// | `unix:///path/to.sock[?db=N&user=U&pass=P]` | a unix socket |
/// | `redis+sentinel://[user[:password]@]host[:port],…/service[/db][?sentinel_user=U&sentinel_password=P]` | the primary of the service, as the sentinels name it (port 26379) |
/// | `rediss+sentinel://…` | the same, with TLS to the sentinels and to the server |
///
/// User and password before the `@` are for the server; the sentinels have their own. `valkey` and `valkeys` mean the
/// same as `redis` and `rediss`. Neither `Display` nor `Debug` shows a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    endpoint: Endpoint,
    user: Option<String>,
    secret: Option<Secret>,
    database: u32,
}

/// The secret part of a login.
#[derive(Clone, PartialEq, Eq)]
enum Secret {
    Password(Password),
    Provider(Provider),
}

/// The endpoint of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Tcp { host: String, port: u16 },
    Tls { host: String, port: u16 },
    Unix(PathBuf),
    Sentinels(Sentinels),
}

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; {try_next}")]
pub struct AddressError {
    problem: String,
    try_next: &'static str,
}

impl Address {
    /// The same address with this password.
    #[must_use]
    pub fn with_password(mut self, password: impl Into<String>) -> Self {
        self.secret = Some(Secret::Password(Password(password.into())));
        self
    }

    /// The same address with a provider that is called before each handshake. If its credentials name no user,
    /// the user of the address applies.
    #[must_use]
    pub fn with_credentials(mut self, provider: impl CredentialsProvider) -> Self {
        self.secret = Some(Secret::Provider(Provider::new(provider)));
        self
    }

    /// The user name for the login: `default` if the address names none.
    #[must_use]
    pub fn user(&self) -> &str {
        self.user.as_deref().unwrap_or("default")
    }

    /// Whether the address has a password or a provider of one.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.secret.is_some()
    }

    /// Whether a provider is asked for the password each time, so that it may change.
    pub(crate) fn has_provider(&self) -> bool {
        matches!(self.secret, Some(Secret::Provider(_)))
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        match &self.endpoint {
            Endpoint::Tls { .. } => true,
            Endpoint::Sentinels(sentinels) => sentinels.tls,
            Endpoint::Tcp { .. } | Endpoint::Unix(_) => false,
        }
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The server's host name, if the address has one.
    pub(crate) fn host(&self) -> Option<&str> {
        match &self.endpoint {
            Endpoint::Tcp { host, .. } | Endpoint::Tls { host, .. } => Some(host),
            Endpoint::Unix(_) | Endpoint::Sentinels(_) => None,
        }
    }

    /// The credentials for the login, if there are any.
    pub(crate) async fn credentials(&self) -> Result<Option<Credentials>, BoxError> {
        let credentials = match &self.secret {
            None => return Ok(None),
            Some(Secret::Password(Password(password))) => Credentials::new(password),
            Some(Secret::Provider(provider)) => provider.credentials().await?,
        };
        Ok(Some(credentials.or_username(self.user.as_deref())))
    }

    pub(crate) fn database(&self) -> u32 {
        self.database
    }

    /// The complete URL with these credentials.
    pub(crate) fn secret_url(&self, credentials: Option<&Credentials>) -> String {
        let user = credentials.map_or(self.user.as_deref(), Credentials::user);
        let user = user.map(encoded).unwrap_or_default();
        let password = credentials.map(|credentials| encoded(credentials.password()));
        let (scheme, place, query) = match &self.endpoint {
            Endpoint::Tcp { host, port } => ("redis", format!("{}:{port}", bracketed(host)), String::new()),
            Endpoint::Tls { host, port } => ("rediss", format!("{}:{port}", bracketed(host)), String::new()),
            Endpoint::Sentinels(sentinels) => (
                sentinels.scheme(),
                format!("{sentinels}/{}", sentinels.encoded_service()),
                sentinels.query(),
            ),
            Endpoint::Unix(path) => {
                let path = percent_encoding::percent_encode(path.as_os_str().as_bytes(), PATH);
                let password = password.map(|password| format!("&pass={password}")).unwrap_or_default();
                let user = if user.is_empty() { user } else { format!("&user={user}") };
                return format!("unix://{path}?db={}{user}{password}", self.database);
            }
        };
        let login = match password {
            Some(password) => format!("{user}:{password}@"),
            None if user.is_empty() => user,
            None => format!("{user}@"),
        };
        format!("{scheme}://{login}{place}/{}{query}", self.database)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.endpoint {
            Endpoint::Tcp { host, port } => write!(f, "redis://{}:{port}", bracketed(host))?,
            Endpoint::Tls { host, port } => write!(f, "rediss://{}:{port}", bracketed(host))?,
            Endpoint::Unix(path) => write!(f, "unix://{}", path.display())?,
            Endpoint::Sentinels(sentinels) => {
                write!(f, "{}://{sentinels}/{}", sentinels.scheme(), sentinels.encoded_service())?;
            }
        }
        match (&self.endpoint, self.database) {
            (_, 0) => Ok(()),
            (Endpoint::Unix(_), database) => write!(f, "?db={database}"),
            (_, database) => write!(f, "/{database}"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// Escapes everything in a path except its slashes.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/');

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}
fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Address {
        /// The password in the address.
        pub(super) fn password(&self) -> Option<&str> {
            match &self.secret {
                Some(Secret::Password(Password(password))) => Some(password),
                _ => None,
            }
        }
    }

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn a_password_never_shows() {
        for text in ["redis://u:hush@h:1/2", "unix:///s?pass=hush"] {
            let shown = format!("{0} {0:?}", address(text));
            assert!(!shown.contains("hush"), "{shown}");
        }
        for broken in [
            "redis://u:hush@h:port",
            "http://u:hush@h",
            "redis://u:hush@h/x",
            "u:hush@h",
            "redis://u:hush@",
            "redis://u:12/hush@h",
            "redis://u:12#hush@h",
            "redis://u:12?hush@h",
            "unix:///s?pass=a&hush",
        ] {
            let error = broken.parse::<Address>().unwrap_err().to_string();
            assert!(!error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn an_address_without_a_scheme_says_how_to_write_one() {
        let error = "localhost:6379".parse::<Address>().unwrap_err().to_string();
        assert_eq!(error, "the URL has no scheme; begin it with redis://, like redis://localhost:6379");
    }

    #[tokio::test]
    async fn with_its_credentials_it_is_the_same_when_read_again() {
        for text in [
            "redis://h:1",
            "rediss://al%40ice:p%2Fw%20%25%C3%A9@[::1]:7000/3",
            "redis://:hush@h:1",
            "redis://user@h:1",
            "unix:///run/a%20b%3F.sock",
            "unix:///run/r.sock?db=2&user=u%26&pass=s%2Bc%20r%3Det",
        ] {
            let credentials = address(text).credentials().await.unwrap();
            assert_eq!(address(&address(text).secret_url(credentials.as_ref())), address(text), "{text}");
        }
    }

    #[tokio::test]
    async fn a_provider_is_asked_each_time_and_the_user_is_its_own_or_the_addresss() {
        let count = std::sync::atomic::AtomicU32::new(0);
        let given = address("redis://alice:old@h:1").with_credentials(move || {
            let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let credentials = Credentials::new(format!("hush{number}"));
            async move { Ok(if number == 0 { credentials } else { credentials.username("bob") }) }
        });
        assert_eq!(given.credentials().await.unwrap(), Some(Credentials::new("hush0").username("alice")));
        assert_eq!(given.credentials().await.unwrap(), Some(Credentials::new("hush1").username("bob")));
        let shown = format!("{given} {given:?}");
        assert!(!shown.contains("hush") && !shown.contains("old"), "{shown}");
        assert_eq!(given, given.clone());
        assert_ne!(given, given.clone().with_password("hush"));
    }

    #[test]
    fn an_address_that_is_shown_can_be_parsed_again() {
        for text in ["redis://h:1", "rediss://[::1]:6379/4", "unix:///a/b?db=1"] {
            assert_eq!(address(text).to_string(), text);
        }
    }
}
