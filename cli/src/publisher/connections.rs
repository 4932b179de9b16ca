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

/// Which node serves each name, as far as it is known, and the connections to the nodes. A single server has one
/// connection for all names.
///
/// A name loses its home when the connection breaks, and in a cluster or behind sentinels also when another node takes
/// over. Then a search runs in the background, at most one for each name. Dropping this ends all searches.
pub(crate) struct Connections {
    router: Router,
    names: Vec<String>,
    /// By the index of the name.
    homes: Vec<Home>,
    /// By node number. Each new connection gets a new number, even one to the same place, so that a late reply of an
    /// old connection is not attributed to the new one.
    nodes: Vec<Node>,
    searches: JoinSet<Search>,
}

/// What is known about the node that serves a name.
#[derive(Debug, PartialEq)]
enum Home {
    /// The number of a connected node.
    Node(usize),
    /// Not known, and not searched.
    Unknown,
    /// The cluster is being asked.
    Asked,
    /// A connection to its place is being opened, for this name or another one.
    Opened(Place),
}

struct Node {
    place: Place,
    /// `None` after it broke.
    connection: Option<Link>,
}

/// The result of a search for the home of a name.
struct Search {
    name: usize,
    found: Result<Found, Error>,
}

enum Found {
    Place(Place),
    Connection(Place, Link),
}

/// The delay before a search. After it the router asks the nodes again instead of using what it learned before, and
/// repeated refusals do not keep the cluster busy.
const SEARCH_AFTER: Duration = Duration::from_millis(60);

impl Connections {
    /// Connects to every node that serves a name of the target.
    ///
    /// # Errors
    /// If a server is unreachable or refuses the login, or if the target has sharded channels and the server is not a
    /// cluster.
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

    /// Whether the node that serves a name knows all of its subscribers. In a cluster it does not for a plain PUBLISH.
    pub(crate) fn know_the_receivers(&self, target: &Target) -> bool {
        target.to == To::Channel && (target.sharding.is_some() || !self.router.is_cluster())
    }

    pub(crate) fn name(&self, name: usize) -> &str {
        &self.names[name]
    }

    pub(crate) fn names(&self) -> usize {
        self.names.len()
    }

    /// The node that serves this name, if it is known.
    pub(crate) fn home(&self, name: usize) -> Option<usize> {
        match self.homes[name] {
            Home::Node(node) => Some(node),
            _ => None,
        }
    }

    /// Whether every name has a node.
    pub(crate) fn are_complete(&self) -> bool {
        self.homes.iter().all(|home| matches!(home, Home::Node(_)))
    }

    /// The connection to a node. A connection that closed while idle is given up: nothing was sent over it.
    pub(crate) fn to(&mut self, node: usize) -> Option<Link> {
        if self.nodes[node].connection.as_ref().is_some_and(Link::is_closed) {
            self.lose(node);
        }
        self.nodes[node].connection.clone()
    }

    /// Starts a search for the node that serves a name, unless it is known or a search runs.
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

    /// Waits for the next step of a search, which may give a name its home. Waits forever if no search runs. Cancel
    /// safe.
    ///
    /// # Errors
    /// The name whose search failed, and why. It can be searched again.
    pub(crate) async fn found(&mut self) -> Result<(), (usize, Error)> {
        let Search { name, found } = match self.searches.join_next().await {
            Some(Ok(search)) => search,
            // Searches are aborted only when this is dropped.
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

    /// Whether a refusal by this node is temporary: the name moves to another node, or will be served again. If so, the
    /// name loses its home and has to be searched.
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
            // The name may have a new home since this message was sent.
            if self.homes[name] == Home::Node(node) {
                self.homes[name] = Home::Unknown;
            }
        }
        passes
    }

    /// Lets the names of a silent node be searched again, because another node may serve them by now. Its connection
    /// stays.
    pub(crate) fn suspect(&mut self, node: usize) {
        if self.router.has_others() {
            self.forget(&Home::Node(node));
        }
    }

    /// Gives up a broken connection. The next message opens a connection to the node that then serves its name.
    pub(crate) fn lose(&mut self, node: usize) {
        self.nodes[node].connection = None;
        self.forget(&Home::Node(node));
    }

    /// The node at this place, if it is connected.
    fn node_at(&self, place: &Place) -> Option<usize> {
        self.nodes.iter().position(|node| {
            node.place == *place && node.connection.as_ref().is_some_and(|link| !link.is_closed())
        })
    }

    fn node_with(&mut self, place: Place, connection: Link) -> usize {
        self.nodes.push(Node { place, connection: Some(connection) });
        self.nodes.len() - 1
    }

    /// Connects a name to the place that serves it. All names of a place share one connection.
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

    /// The attempt to connect for this name has ended. Other names that waited for it have to be searched again.
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
