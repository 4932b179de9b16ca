//! What the sentinels of a service say: which server is its primary.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::cluster::Node;
use super::fault::Fault;
use super::reply::Reply;
use crate::address::Sentinels;

/// The state of a service, shared by all connections of a group.
///
/// The sentinels are asked when a connection is opened and their last answer is not fresh, and also every few seconds.
/// Their announcements count at once. Their word alone is not enough: the server that they name must call itself a
/// primary.
pub(crate) struct Service {
    name: String,
    /// The sentinels. The next one to ask is first.
    sentinels: Mutex<Vec<Node>>,
    /// The primary that they named.
    latest: watch::Sender<Latest>,
    /// Locked while the sentinels are asked.
    asked: tokio::sync::Mutex<Option<Asked>>,
}

/// The latest statement of the sentinels.
#[derive(Debug, Clone)]
struct Latest {
    named: Option<Named>,
    /// When it was last made.
    at: Instant,
    /// When a sentinel last named the previous primary.
    until: Instant,
}

/// The statement of one sentinel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) primary: Node,
    pub(crate) sentinel: Node,
}

/// The last round of questions to the sentinels.
struct Asked {
    at: Instant,
    /// Why no sentinel had an answer.
    failure: Option<String>,
}

impl Service {
    pub(crate) fn new(sentinels: &Sentinels) -> Self {
        let hosts = sentinels.hosts.iter();
        let sentinels_of_it = hosts.map(|(host, port)| Node { host: host.clone(), port: *port }).collect();
        Self {
            name: sentinels.service.clone(),
            sentinels: Mutex::new(sentinels_of_it),
            latest: watch::Sender::new(Latest { named: None, at: Instant::now(), until: Instant::now() }),
            asked: tokio::sync::Mutex::new(None),
        }
    }

    /// The name of the service at its sentinels.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The sentinels in the order to ask them.
    pub(crate) fn sentinels(&self) -> Vec<Node> {
        self.lock().clone()
    }

    /// Whether a sentinel has ever named a primary.
    pub(crate) fn is_known(&self) -> bool {
        self.latest.borrow().named.is_some()
    }

    /// The primary that was named within `fresh`, or else the result of `ask`. One caller asks, and all others share
    /// the answer.
    pub(crate) async fn primary(
        &self,
        fresh: Duration,
        ask: impl AsyncFnOnce() -> Result<Named, Fault>,
    ) -> Result<Node, Fault> {
        let mut asked = self.asked.lock().await;
        if let Some(asked) = asked.as_ref().filter(|asked| asked.at.elapsed() < fresh) {
            if let Some(cause) = &asked.failure {
                return Err(Fault::Transient(cause.clone()));
            }
            if let Some(named) = self.latest.borrow().named.clone() {
                return Ok(named.primary);
            }
        }
        let answer = ask().await;
        let failure = match &answer {
            Err(Fault::Transient(cause)) => Some(cause.clone()),
            Ok(_) | Err(Fault::Permanent(_)) => None,
        };
        *asked = Some(Asked { at: Instant::now(), failure });
        let named = answer?;
        self.learn(named.clone());
        Ok(named.primary)
    }

    /// Stores a sentinel's statement, and moves this sentinel to the front of the order.
    pub(crate) fn learn(&self, named: Named) {
        let mut sentinels = self.lock();
        if let Some(at) = sentinels.iter().position(|sentinel| *sentinel == named.sentinel) {
            sentinels[..=at].rotate_right(1);
        }
        drop(sentinels);
        self.latest.send_if_modified(|latest| {
            let changed = latest.named.as_ref().is_none_or(|known| known.primary != named.primary);
            let until = if changed { latest.at } else { latest.until };
            *latest = Latest { named: Some(named), at: Instant::now(), until };
            changed
        });
    }

    /// The named primary cannot be used. Its sentinel may know less than the others, so it is asked last the next
    /// time.
    pub(crate) fn suspect(&self, primary: &Node) {
        let named = self.latest.borrow().named.clone();
        let Some(named) = named.filter(|named| named.primary == *primary) else { return };
        let mut sentinels = self.lock();
        // Many connections may suspect the same primary. The first one is enough.
        if sentinels.first() == Some(&named.sentinel) {
            sentinels.rotate_left(1);
        }
    }

    /// Waits until the primary is another node than this one. Returns a time when it was still this one.
    pub(crate) async fn left(&self, node: &Node) -> Instant {
        let mut latest = self.latest.subscribe();
        let is_another = |latest: &Latest| latest.named.as_ref().is_some_and(|named| named.primary != *node);
        let until = latest.wait_for(is_another).await.map(|latest| latest.until);
        match until {
            Ok(until) => until,
            Err(_) => std::future::pending().await,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Node>> {
        self.sentinels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the reply to `SENTINEL GET-MASTER-ADDR-BY-NAME`. `Some(None)`: the service is not known there. `None`: the
/// reply is malformed.
pub(crate) fn primary_in(reply: &Reply<'_>) -> Option<Option<Node>> {
    match reply {
        Reply::Array(None) | Reply::Bulk(None) => Some(None),
        Reply::Array(Some(parts)) => match parts.as_slice() {
            [Reply::Bulk(Some(host)), Reply::Bulk(Some(port))] => node(host, port).map(Some),
            _ => None,
        },
        _ => None,
    }
}

/// Reads a message of `+switch-master`: `service old-host old-port new-host new-port`. Returns the new primary if the
/// message is about this service.
pub(crate) fn switched(reply: &Reply<'_>, service: &str) -> Option<Node> {
    let Reply::Array(Some(parts)) = reply else { return None };
    let [Reply::Bulk(Some(b"message")), _, Reply::Bulk(Some(message))] = parts.as_slice() else {
        return None;
    };
    let message = std::str::from_utf8(message).ok()?.strip_prefix(service)?.strip_prefix(' ')?;
    match message.split(' ').collect::<Vec<_>>().as_slice() {
        [_, _, host, port] => node(host.as_bytes(), port.as_bytes()),
        _ => None,
    }
}

fn node(host: &[u8], port: &[u8]) -> Option<Node> {
    let port = std::str::from_utf8(port).ok()?.parse().ok().filter(|port| *port > 0)?;
    let host = std::str::from_utf8(host).ok().filter(|host| !host.is_empty())?.to_owned();
    Some(Node { host, port })
}

#[cfg(test)]
mod tests {
    use super::super::reply::parse;
    use super::*;
    use crate::address::{Address, Endpoint};

    fn service() -> Service {
        let address: Address = "redis+sentinel://a:1,b:2,c:3/mymaster".parse().unwrap();
        match address.endpoint() {
            Endpoint::Sentinels(sentinels) => Service::new(sentinels),
            other => panic!("{other:?}"),
        }
    }

    fn at(host: &str, port: u16) -> Node {
        Node { host: host.to_owned(), port }
    }

    fn order(service: &Service) -> String {
        service.sentinels().into_iter().map(|sentinel| sentinel.host).collect()
    }

    fn named(sentinel: Node, primary: u16) -> Named {
        Named { primary: at("p", primary), sentinel }
    }

    #[test]
    fn the_sentinel_that_answered_is_asked_first_and_one_that_was_wrong_last() {
        let service = service();
        service.learn(named(at("b", 2), 1));
        assert_eq!(order(&service), "bac");
        service.suspect(&at("p", 1));
        assert_eq!(order(&service), "acb");
        service.suspect(&at("p", 1));
        assert_eq!(order(&service), "acb");
        service.learn(named(at("a", 1), 2));
        service.suspect(&at("p", 1));
        assert_eq!(order(&service), "acb");
    }

    #[tokio::test(start_paused = true)]
    async fn one_asks_for_all() {
        let service = service();
        let fresh = Duration::from_millis(50);
        let first = service.primary(fresh, async || Ok(named(at("a", 1), 7))).await.unwrap();
        let second = service.primary(fresh, async || Ok(named(at("a", 1), 8))).await.unwrap();
        assert_eq!((first.port, second.port), (7, 7));
        tokio::time::advance(fresh).await;
        let silent = service.primary(fresh, async || Err(Fault::Transient("silence".to_owned()))).await;
        assert!(matches!(silent, Err(Fault::Transient(_))));
        let silent = service.primary(fresh, async || Ok(named(at("a", 1), 9))).await;
        assert!(matches!(silent, Err(Fault::Transient(cause)) if cause == "silence"));
    }

    #[tokio::test]
    async fn a_connection_to_another_node_than_the_primary_is_notified() {
        let service = service();
        let node = at("p", 1);
        let has_left = async || {
            tokio::select! {
                biased;
                _ = service.left(&node) => true,
                () = std::future::ready(()) => false,
            }
        };
        assert!(!has_left().await);
        service.learn(named(at("a", 1), 1));
        assert!(!has_left().await);
        service.learn(named(at("b", 2), 2));
        assert!(has_left().await);
    }

    #[test]
    fn the_answers_of_sentinels_are_parsed() {
        let read = |text: &str| primary_in(&parse(text.as_bytes()).unwrap().unwrap().0);
        assert_eq!(read("*2\r\n$7\r\n1.2.3.4\r\n$4\r\n6379\r\n"), Some(Some(at("1.2.3.4", 6379))));
        assert_eq!(read("*-1\r\n"), Some(None));
        assert_eq!(read("*2\r\n$7\r\n1.2.3.4\r\n$1\r\n0\r\n"), None);
        let switch = |message: &str| {
            let text = format!(
                "*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n${}\r\n{message}\r\n",
                message.len()
            );
            switched(&parse(text.as_bytes()).unwrap().unwrap().0, "mymaster")
        };
        assert_eq!(switch("mymaster 1.2.3.4 6379 1.2.3.5 6380"), Some(at("1.2.3.5", 6380)));
        assert_eq!(switch("mymaster2 1.2.3.4 6379 1.2.3.5 6380"), None);
        assert_eq!(switch("mymaster 1.2.3.4"), None);
    }
}
