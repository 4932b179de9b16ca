//! The connections of a publisher: one to each node that serves a name of its target.

use std::future::pending;
use std::mem;
use std::panic::resume_unwind;
use std::time::Duration;

use redis::RedisError;
use redis_consumer_group::client::{Link, Names, Place, Router};
use redis_consumer_group::{Address, Error, Tls};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::target::{Target, To};

/// Who serves each name, as far as it is known, and the connection there. Of one server alone that is one for all.
///
/// A name loses its home when the connection breaks, and in a cluster or behind sentinels also when another server takes
/// over. Then a search for it runs beside everything else, one at most for each name, and ends with these connections at
/// the latest.
pub(crate) struct Connections {
    router: Router,
    names: Vec<String>,
    /// For each name.
    homes: Vec<Home>,
    /// By number. No number is used twice: who opens a connection again, also to the same place, gets another one, so
    /// that what an old connection still says is not taken for a word of the new one.
    nodes: Vec<Node>,
    searches: JoinSet<Search>,
}

/// What is known of who serves a name.
#[derive(Debug, PartialEq)]
enum Home {
    /// The number of the node, to which there is a connection.
    Node(usize),
    /// Nobody looks for it.
    Unknown,
    /// The cluster is being asked.
    Asked,
    /// A connection to its place is being opened, be it for this name or another one of the place.
    Opened(Place),
}

struct Node {
    place: Place,
    /// `None` once it broke.
    connection: Option<Link>,
}

/// A search that came to its end, and the name it was for.
struct Search {
    name: usize,
    found: Result<Found, Error>,
}

enum Found {
    Place(Place),
    Connection(Place, Link),
}

/// How long a search waits before it begins: by then, what a node has refused is asked for anew, and whoever is refused
/// again and again does not keep the cluster busy.
const SEARCH_AFTER: Duration = Duration::from_millis(60);

impl Connections {
    /// Connects to everyone who serves a name of the target.
    ///
    /// # Errors
    /// A server that is not reachable or refuses the login; sharded channels of what is no cluster.
    pub(crate) async fn open(address: &Address, tls: &Tls, target: &Target) -> Result<Self, Error> {
        let is_sharded = target.sharding.is_some();
        let names = match target.to {
            To::Channel if !is_sharded => Names::Channels,
            To::Channel | To::Stream => Names::Keys,
        };
        let router = Router::new(address, tls, names).await?;
        if target.to == To::Channel && is_sharded {
            router.must_be_a_cluster()?;
        }
        let mut all = Self::new(router.clone(), target);
        for name in 0..all.names.len() {
            let place = router.place(&all.names[name]).await?;
            let node = match all.node_at(&place) {
                Some(node) => node,
                None => {
                    let (place, connection) = router.connect(&all.names[name]).await?;
                    all.node_with(place, connection)
                }
            };
            all.homes[name] = Home::Node(node);
        }
        Ok(all)
    }

    fn new(router: Router, target: &Target) -> Self {
        let names = target.names();
        let homes = names.iter().map(|_| Home::Unknown).collect();
        Self { router, names, homes, nodes: Vec::new(), searches: JoinSet::new() }
    }

    /// Whether who serves a name knows of everybody who hears it. The node of a cluster that a plain message is published
    /// to does not.
    pub(crate) fn know_the_receivers(&self, target: &Target) -> bool {
        target.to == To::Channel && (target.sharding.is_some() || !self.router.is_cluster())
    }

    pub(crate) fn name(&self, name: usize) -> &str {
        &self.names[name]
    }

    pub(crate) fn names(&self) -> usize {
        self.names.len()
    }

    /// The node that a message for this name goes to, if that is known.
    pub(crate) fn home(&self, name: usize) -> Option<usize> {
        match self.homes[name] {
            Home::Node(node) => Some(node),
            _ => None,
        }
    }

    /// Whether it is known for every name.
    pub(crate) fn are_complete(&self) -> bool {
        self.homes.iter().all(|home| matches!(home, Home::Node(_)))
    }

    /// The connection to a node. One that was closed while it was idle is given up: nothing was sent over it.
    pub(crate) fn to(&mut self, node: usize) -> Option<Link> {
        if self.nodes[node].connection.as_ref().is_some_and(Link::is_closed) {
            self.lose(node);
        }
        self.nodes[node].connection.clone()
    }

    /// Begins to look for who serves a name, unless that is known or being looked for.
    pub(crate) fn seek(&mut self, name: usize) {
        if self.homes[name] != Home::Unknown {
            return;
        }
        self.homes[name] = Home::Asked;
        let router = self.router.clone();
        let key = self.names[name].clone();
        self.searches.spawn(async move {
            sleep(SEARCH_AFTER).await;
            Search { name, found: router.place(&key).await.map(Found::Place) }
        });
    }

    /// Waits until a search has come a step further, which may give a name its home; for ever where nothing is looked
    /// for. Can be cancelled.
    ///
    /// # Errors
    /// The name that was not found, and why. It can be looked for again.
    pub(crate) async fn found(&mut self) -> Result<(), (usize, Error)> {
        let Search { name, found } = match self.searches.join_next().await {
            Some(Ok(search)) => search,
            // They are aborted only with these connections.
            Some(Err(ended)) => resume_unwind(ended.into_panic()),
            None => pending().await,
        };
        match found {
            Ok(Found::Place(place)) => self.move_in(name, place),
            Ok(Found::Connection(place, connection)) => {
                self.opened(name);
                let node = self.node_at(&place).unwrap_or_else(|| self.node_with(place, connection));
                self.homes[name] = Home::Node(node);
            }
            Err(error) => {
                self.opened(name);
                return Err((name, error));
            }
        }
        Ok(())
    }

    /// Whether a refusal by this node only means that the name is on its way to another one, or will be served again.
    /// Then its home is to be found anew.
    pub(crate) fn follows(&mut self, name: usize, node: usize, refusal: &RedisError) -> bool {
        let passes = match refusal.code() {
            Some("LOADING" | "BUSY") => true,
            Some("MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN" | "MASTERDOWN" | "READONLY") => {
                self.router.has_others()
            }
            _ => false,
        };
        if passes {
            self.router.learn(refusal);
            // It may have found another one since this was sent.
            if self.homes[name] == Home::Node(node) {
                self.homes[name] = Home::Unknown;
            }
        }
        passes
    }

    /// Lets the names of a node be looked for anew, while its connection stays: it does not answer, and another one may
    /// serve them by now, if there is any other.
    pub(crate) fn suspect(&mut self, node: usize) {
        if self.router.has_others() {
            self.forget(&Home::Node(node));
        }
    }

    /// Gives up a connection that broke. Another one is opened for the next message, to whoever serves its name then.
    pub(crate) fn lose(&mut self, node: usize) {
        self.nodes[node].connection = None;
        self.forget(&Home::Node(node));
    }

    /// The node at this place, if there is a connection.
    fn node_at(&self, place: &Place) -> Option<usize> {
        self.nodes.iter().position(|node| {
            node.place == *place && node.connection.as_ref().is_some_and(|link| !link.is_closed())
        })
    }

    fn node_with(&mut self, place: Place, connection: Link) -> usize {
        self.nodes.push(Node { place, connection: Some(connection) });
        self.nodes.len() - 1
    }

    /// A name is served at this place. One connection there is enough for all names.
    fn move_in(&mut self, name: usize, place: Place) {
        if let Some(node) = self.node_at(&place) {
            self.homes[name] = Home::Node(node);
            return;
        }
        let opened = Home::Opened(place);
        if !self.homes.contains(&opened) {
            let router = self.router.clone();
            let key = self.names[name].clone();
            self.searches.spawn(async move {
                let found = router.connect(&key).await;
                Search { name, found: found.map(|(place, connection)| Found::Connection(place, connection)) }
            });
        }
        self.homes[name] = opened;
    }

    /// The attempt to connect for this name is over, and so is the wait of others for it: they ask again.
    fn opened(&mut self, name: usize) {
        let ended = mem::replace(&mut self.homes[name], Home::Unknown);
        if matches!(ended, Home::Opened(_)) {
            self.forget(&ended);
        }
    }

    fn forget(&mut self, home: &Home) {
        for known in self.homes.iter_mut().filter(|known| *known == home) {
            *known = Home::Unknown;
        }
    }
}
