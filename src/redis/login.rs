//! The logins of a group: the credentials that its connections use, and whether the server accepts them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::cluster::Node;
use super::fault::Fault;
use super::outage::Outage;
use super::server::{RESPONSE_TIMEOUT, Server};
use crate::credentials::Credentials;
use crate::error::Error;

/// How long a running group retries a refused login. A new password may reach the server before it reaches us.
const REFUSED_AT_MOST: Duration = Duration::from_secs(60);

/// Shared by all connections of a group.
pub(crate) struct Logins {
    /// The latest credentials that expire.
    current: watch::Sender<Login>,
    state: Mutex<State>,
}

/// The credentials that a connection logged in with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Login {
    /// Counts the credentials that expire. 0 if these were outdated when they were obtained, and while none expire.
    serial: u64,
    pub(super) credentials: Option<Credentials>,
    /// When to ask the provider for new ones.
    renew_at: Option<SystemTime>,
}

/// Shows whether a login is still the current one.
#[derive(Debug, Clone)]
pub(crate) struct Valid {
    current: watch::Receiver<Login>,
    serial: u64,
}

#[derive(Default)]
struct State {
    /// The user of the last login.
    user: Option<String>,
    /// Whether any login was ever accepted.
    is_accepted: bool,
    /// The nodes that refuse logins, with the time of the first and of the last refusal.
    refused: HashMap<Option<Node>, (Instant, Instant)>,
}

impl Logins {
    /// The shortest time between two attempts to renew credentials.
    const SHORTEST: Duration = Duration::from_secs(1);
    /// The longest sleep. A timer does not notice that the machine was suspended, so the wall clock is read this
    /// often.
    const LONGEST: Duration = Duration::from_secs(30);

    pub(crate) fn new() -> Self {
        Self { current: watch::Sender::new(Login::default()), state: Mutex::default() }
    }

    /// Stores credentials that the provider just returned.
    fn obtained(&self, credentials: Option<Credentials>) -> Login {
        if let Some(user) = credentials.as_ref().and_then(Credentials::user) {
            self.lock().user = Some(user.to_owned());
        }
        let mut login = Login { serial: self.current.borrow().serial, credentials, renew_at: None };
        let Some(expiry) = login.credentials.as_ref().and_then(Credentials::expiry) else {
            self.current.send_if_modified(|current| {
                let did_expire = current.renew_at.is_some();
                if did_expire {
                    login.serial = current.serial + 1;
                    *current = login.clone();
                }
                did_expire
            });
            return login;
        };
        let now = SystemTime::now();
        // Early enough for several more attempts.
        let left = expiry.duration_since(now).unwrap_or_default();
        login.renew_at = Some(now + (left * 3 / 4).max(Self::SHORTEST));
        self.current.send_if_modified(|current| {
            if current.credentials == login.credentials {
                // The provider returned the same ones again. If they were due, ask again after 3/4 of the time that is
                // left.
                let is_due = current.renew_at.is_none_or(|at| at <= now);
                current.renew_at = if is_due { login.renew_at } else { current.renew_at };
                login.serial = current.serial;
                return false;
            }
            let is_older = current.credentials.as_ref().and_then(Credentials::expiry) > Some(expiry);
            login.serial = if is_older { 0 } else { current.serial + 1 };
            if !is_older {
                *current = login.clone();
            }
            !is_older
        });
        login
    }

    /// The login that should replace this one, if there is a newer one.
    pub(crate) fn newer(&self, than: &Login) -> Option<Login> {
        let current = self.current.borrow();
        (current.serial != than.serial).then(|| current.clone())
    }

    /// A handle that shows later whether this login was replaced.
    pub(crate) fn valid(&self, login: &Login) -> Valid {
        Valid { current: self.current.subscribe(), serial: login.serial }
    }

    /// Waits for a newer login than this one, and returns it. Without a login, waits forever.
    pub(crate) async fn renewed(&self, login: Option<&Login>) -> Login {
        let Some(Login { serial, .. }) = login else { return std::future::pending().await };
        let mut current = self.current.subscribe();
        let newer = current.wait_for(|current| current.serial != *serial).await.map(|newer| newer.clone());
        match newer {
            Ok(newer) => newer,
            Err(_) => std::future::pending().await,
        }
    }

    /// The server accepted a login.
    pub(crate) fn accepted(&self, node: Option<&Node>) {
        let mut state = self.lock();
        state.is_accepted = true;
        if !state.refused.is_empty() {
            state.refused.remove(&node.cloned());
        }
    }

    /// Whether the server may accept a login again soon.
    fn may_be_accepted(&self, node: Option<&Node>) -> bool {
        let (mut state, now) = (self.lock(), Instant::now());
        if !state.is_accepted {
            return false;
        }
        let (since, last) = state.refused.entry(node.cloned()).or_insert((now, now));
        // The last refusal is long past: this is a new series.
        if now - *last > REFUSED_AT_MOST {
            *since = now;
        }
        *last = now;
        now - *since < REFUSED_AT_MOST
    }

    fn is_accepted(&self) -> bool {
        self.lock().is_accepted
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Valid {
    /// Whether newer credentials have replaced these.
    pub(crate) fn is_over(&self) -> bool {
        self.current.borrow().serial != self.serial
    }
}

impl Login {
    /// Whether these credentials expire, so that others will replace them.
    pub(crate) fn expires(&self) -> bool {
        self.renew_at.is_some()
    }
}

impl Server {
    /// The credentials to log in with now.
    ///
    /// # Errors
    /// Why there are none: the provider failed, or did not answer in time.
    pub(crate) async fn login(&self) -> Result<Login, String> {
        match timeout(RESPONSE_TIMEOUT, self.address().credentials()).await {
            Ok(Ok(credentials)) => Ok(self.logins().obtained(credentials)),
            Ok(Err(error)) => Err(format!("{NO_CREDENTIALS}: {error}")),
            Err(_) => Err(format!("{NO_CREDENTIALS}: the provider did not answer for {RESPONSE_TIMEOUT:?}")),
        }
    }

    /// The user that logs in.
    pub(crate) fn user(&self) -> String {
        let state = self.logins().lock();
        state.user.clone().unwrap_or_else(|| self.address().user().to_owned())
    }

    /// The fault for a refused login.
    pub(crate) fn login_refused(&self, node: Option<&Node>, answer: &str) -> Fault {
        if self.address().has_provider() && self.logins().may_be_accepted(node) {
            return self.login_may_pass(answer);
        }
        Fault::Permanent(Error::Refused {
            address: self.address().to_string(),
            what: "the login".to_owned(),
            answer: answer.to_owned(),
            try_next: self.check_the_login(),
        })
    }

    /// The fault for a command that was refused because the connection is not (or no longer) logged in, or that logs
    /// in itself.
    pub(crate) fn not_logged_in(&self, what: &str, answer: &str) -> Fault {
        // The next handshake shows whether the login still works.
        if self.address().has_provider() && self.logins().is_accepted() {
            return self.login_may_pass(answer);
        }
        Fault::Permanent(Error::Refused {
            address: self.address().to_string(),
            what: what.to_owned(),
            answer: answer.to_owned(),
            try_next: self.check_the_login(),
        })
    }

    fn login_may_pass(&self, answer: &str) -> Fault {
        let user = self.user();
        Fault::Transient(format!("{LOGIN_REFUSED}, as {user:?} ({answer}); asking for new credentials"))
    }

    /// What to try after a refused login.
    pub(super) fn check_the_login(&self) -> String {
        match self.address().has_password() {
            true => format!("check the user {:?} and its password", self.user()),
            false => "give a password, in the URL or in a file (password-file)".to_owned(),
        }
    }

    /// Obtains new credentials before the current ones expire. Connections then see that theirs were replaced.
    pub(crate) async fn renew_credentials(&self) {
        let outage = Outage::of_credentials();
        let mut current = self.logins().current.subscribe();
        loop {
            let renew_at = current.borrow_and_update().renew_at;
            let Some(renew_at) = renew_at else {
                if current.changed().await.is_err() {
                    return;
                }
                continue;
            };
            if let Ok(left) = renew_at.duration_since(SystemTime::now()) {
                // A handshake may renew them as well.
                tokio::select! {
                    () = sleep(left.min(Logins::LONGEST)) => {}
                    _ = current.changed() => {}
                }
                continue;
            }
            match self.login().await {
                Ok(_) => drop(outage.succeeded()),
                Err(cause) => outage.failed(&cause),
            }
            // Also after an answer: it may leave the current ones due.
            sleep(Logins::SHORTEST).await;
        }
    }
}

/// The beginning of the cause when a provider failed.
pub(crate) const NO_CREDENTIALS: &str = "no credentials for the login";
/// The beginning of the cause when a refused login may be accepted later.
pub(super) const LOGIN_REFUSED: &str = "the login was refused";

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::address::Address;
    use crate::config::Tls;

    fn expiring(password: &str, seconds: u64) -> Option<Credentials> {
        let at = SystemTime::now() + Duration::from_secs(seconds);
        Some(Credentials::new(password).expires(at))
    }

    fn node(port: u16) -> Option<Node> {
        Some(Node { host: "h".to_owned(), port })
    }

    #[test]
    fn credentials_that_expire_later_replace_those_of_every_connection() {
        let logins = Logins::new();
        let (a, b, c) = (expiring("a", 100), expiring("b", 200), expiring("c", 50));
        let first = logins.obtained(a.clone());
        assert!(first.expires() && logins.newer(&first).is_none());
        // The provider returns the same ones again.
        assert!(logins.newer(&logins.obtained(a)).is_none());
        let second = logins.obtained(b.clone());
        assert_eq!(logins.newer(&first).unwrap().credentials, b);
        assert!(logins.newer(&second).is_none());
        // An answer that arrived late.
        let late = logins.obtained(c);
        assert_eq!(logins.newer(&late).unwrap().credentials, b);
        assert!(logins.newer(&second).is_none());
    }

    #[test]
    fn credentials_that_do_not_expire_are_left_alone() {
        let logins = Logins::new();
        let first = logins.obtained(Some(Credentials::new("a")));
        let second = logins.obtained(Some(Credentials::new("b")));
        assert!(!first.expires());
        assert!(logins.newer(&first).is_none() && logins.newer(&second).is_none());
    }

    #[test]
    fn credentials_that_do_not_expire_replace_those_that_do() {
        let logins = Logins::new();
        let first = logins.obtained(expiring("a", 100));
        let second = logins.obtained(Some(Credentials::new("b")));
        assert_eq!(logins.newer(&first).unwrap().credentials, Some(Credentials::new("b")));
        assert!(logins.newer(&second).is_none() && logins.current.borrow().renew_at.is_none());
    }

    #[tokio::test]
    async fn a_provider_whose_credentials_stay_due_is_asked_about_once_a_second() {
        let asked = Arc::new(AtomicUsize::new(0));
        let provider = {
            let asked = asked.clone();
            move || {
                // The first ones expire last: none of the later ones replaces them.
                let seconds = if asked.fetch_add(1, Ordering::Relaxed) == 0 { 1 } else { 0 };
                let at = SystemTime::now() + Duration::from_secs(seconds);
                async move { Ok(Credentials::new("a token").expires(at)) }
            }
        };
        let address: Address = "redis://localhost:1".parse().unwrap();
        let server = Server::new(address.with_credentials(provider), &Tls::default()).unwrap();
        server.login().await.unwrap();
        let limit = Duration::from_millis(2500);
        assert!(tokio::time::timeout(limit, server.renew_credentials()).await.is_err());
        assert!((2..=4).contains(&asked.load(Ordering::Relaxed)), "{asked:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_that_is_refused_may_be_accepted_within_a_minute_if_one_was_before() {
        let logins = Logins::new();
        let (one, other) = (node(1), node(2));
        assert!(!logins.may_be_accepted(one.as_ref()));
        logins.accepted(other.as_ref());
        for _ in 0..6 {
            assert!(logins.may_be_accepted(one.as_ref()));
            tokio::time::advance(Duration::from_secs(10)).await;
            logins.accepted(other.as_ref());
        }
        assert!(!logins.may_be_accepted(one.as_ref()), "accepted by another node only");
        logins.accepted(one.as_ref());
        assert!(logins.may_be_accepted(one.as_ref()));
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert!(logins.may_be_accepted(one.as_ref()), "another occasion");
    }
}
