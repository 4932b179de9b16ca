//! The credentials for the login of a connection, and their providers.

use std::any::Any;
use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::Error;

/// An error of any kind.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A user name and a password or token. `Debug` does not show the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    username: Option<String>,
    password: Password,
    expires: Option<SystemTime>,
}

/// A password. It is only ever written to a socket.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Password(pub(crate) String);

impl Credentials {
    /// This password, without an expiry, for the user that the address names, or `default`.
    pub fn new(password: impl Into<String>) -> Self {
        Self { username: None, password: Password(password.into()), expires: None }
    }

    /// Sets the user name.
    #[must_use]
    pub fn username(mut self, username: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self
    }

    /// Sets the expiry. Well before this time the group asks its provider for new credentials, and every open
    /// connection logs in with these.
    #[must_use]
    pub fn expires(mut self, at: SystemTime) -> Self {
        self.expires = Some(at);
        self
    }

    /// Sets the user name if there is none.
    pub(crate) fn or_username(mut self, username: Option<&str>) -> Self {
        self.username = self.username.or_else(|| username.map(str::to_owned));
        self
    }

    pub(crate) fn user(&self) -> Option<&str> {
        self.username.as_deref()
    }

    pub(crate) fn password(&self) -> &str {
        &self.password.0
    }

    pub(crate) fn expiry(&self) -> Option<SystemTime> {
        self.expires
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

/// Provides the credentials for a login. It is called before each handshake, so it should cache credentials that are
/// still valid.
///
/// The group treats an error as transient: it logs the error and retries the connection with the usual backoff. At the
/// start of a group, before the first login, the retries end after five seconds.
///
/// A login that the server refuses ends a group at its start. A running group asks the provider and retries the login
/// for a minute, because a new password may reach the server earlier than this process.
///
/// A closure is a provider:
///
/// ```no_run
/// use redis_consumer_group::{ConsumerGroup, Credentials};
///
/// # fn example() {
/// let builder = ConsumerGroup::builder("rediss://cache.example:6380").credentials(|| async {
///     let token = tokio::fs::read_to_string("/run/secrets/token").await?;
///     Ok(Credentials::new(token.trim()).username("worker"))
/// });
/// # }
/// ```
pub trait CredentialsProvider: Send + Sync + 'static {
    /// Returns the current credentials.
    ///
    /// # Errors
    /// When no credentials are available now. The group logs the text of the error.
    fn credentials(&self) -> impl Future<Output = Result<Credentials, BoxError>> + Send;
}

impl<F, Fut> CredentialsProvider for F
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Credentials, BoxError>> + Send,
{
    fn credentials(&self) -> impl Future<Output = Result<Credentials, BoxError>> + Send {
        self()
    }
}

/// A file with the password, which is read again at every handshake. It contains the password as UTF-8 text. One
/// line ending at the end (`\n` or `\r\n`) is ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordFile(PathBuf);

impl PasswordFile {
    /// The file at this path. Does not read it yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Reads the file.
    ///
    /// # Errors
    /// When the file cannot be read, or is empty.
    pub fn read(&self) -> Result<Credentials, Error> {
        const OPTION: &str = "password-file";
        let Self(path) = self;
        let failed = |source| Error::File { option: OPTION, path: path.clone(), source };
        let text = std::fs::read_to_string(path).map_err(failed)?;
        let text = text.strip_suffix("\r\n").or(text.strip_suffix('\n')).unwrap_or(&text);
        if text.is_empty() {
            let problem = format!("{} is empty; write the password into it", path.display());
            return Err(Error::Config { option: OPTION, problem });
        }
        Ok(Credentials::new(text))
    }
}

impl CredentialsProvider for PasswordFile {
    async fn credentials(&self) -> Result<Credentials, BoxError> {
        let file = self.clone();
        Ok(tokio::task::spawn_blocking(move || file.read()).await??)
    }
}

/// A provider of any type.
#[derive(Clone)]
pub(crate) struct Provider {
    provides: Arc<dyn Provides>,
    /// The file, if it is one: two that read the same file are equal.
    file: Option<PasswordFile>,
}

impl Provider {
    pub(crate) fn new(provider: impl CredentialsProvider) -> Self {
        let file = (&provider as &dyn Any).downcast_ref::<PasswordFile>().cloned();
        Self { provides: Arc::new(provider), file }
    }

    pub(crate) async fn credentials(&self) -> Result<Credentials, BoxError> {
        self.provides.provide().await
    }
}

impl PartialEq for Provider {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.provides, &other.provides) || (self.file.is_some() && self.file == other.file)
    }
}

impl Eq for Provider {}

/// [`CredentialsProvider`] as a trait object.
trait Provides: Send + Sync {
    fn provide(&self) -> Pin<Box<dyn Future<Output = Result<Credentials, BoxError>> + Send + '_>>;
}

impl<P: CredentialsProvider> Provides for P {
    fn provide(&self) -> Pin<Box<dyn Future<Output = Result<Credentials, BoxError>> + Send + '_>> {
        Box::pin(self.credentials())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_do_not_show_their_password() {
        let shown = format!("{:?}", Credentials::new("hush").username("alice").expires(SystemTime::now()));
        assert!(shown.contains("alice") && !shown.contains("hush"), "{shown}");
    }

    #[test]
    fn two_providers_are_equal_when_they_read_the_same_file() {
        let file = |path| Provider::new(PasswordFile::new(path));
        assert!(file("a") == file("a") && file("a") != file("b"));
        let closure = || Provider::new(|| async { Ok(Credentials::new("a")) });
        let one = closure();
        assert!(one == one.clone() && one != closure());
    }

    #[tokio::test]
    async fn a_password_file_is_read_each_time_but_for_one_newline_at_its_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let provider = Provider::new(PasswordFile::new(file.path()));
        for (text, expected) in [
            ("hush", "hush"),
            ("hush\n", "hush"),
            ("hush\r\n", "hush"),
            ("hush\r", "hush\r"),
            ("hush\n\n", "hush\n"),
        ] {
            std::fs::write(file.path(), text).unwrap();
            assert_eq!(provider.credentials().await.unwrap(), Credentials::new(expected));
        }
        std::fs::write(file.path(), "\n").unwrap();
        assert!(provider.credentials().await.unwrap_err().to_string().contains("is empty"));
        file.close().unwrap();
        assert!(provider.credentials().await.unwrap_err().to_string().contains("cannot read"));
    }
}
