//! The connections of a load: one to each node that serves a name of its target.

use std::future::pending;
use std::mem;
use std::panic::resume_unwind;
use std::time::Duration;

use redis::RedisError;
use redis::aio::MultiplexedConnection;
use redis_consumer_group::client::{Names, Place, Router};
use redis_consumer_group::{Address, Error, Tls};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::target::{Target, To};

/// Who serves each name, as far as it is known, and the connection there. Of one server alone that is one for all.
///
/// In a cluster, and behind sentinels, a name can lose its home. Then a search for it runs beside everything else, one at most for each name,
/// and ends with these connections at the latest.
pub(crate) struct Connections {
    /// `None` where the address takes everything.
    router: Option<Router>,
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
    connection: Option<MultiplexedConnection>,
}

/// A search that came to its end, and the name it was for.
struct Search {
    name: usize,
    found: Result<Found, Error>,
}

enum Found {
    Place(Place),
    Connection(Place, MultiplexedConnection),
}

/// How long a search waits before it begins: by then, what a node has refused is asked for anew, and whoever is refused
/// again and again does not keep the cluster busy.
const SEARCH_AFTER: Duration = Duration::from_millis(60);

impl Connections {
    /// This one connection for all names.
    pub(crate) fn single(connection: MultiplexedConnection, target: &Target) -> Self {
        let mut single = Self::new(None, target);
        let node = single.node_with(Place::default(), connection);
        single.homes.fill_with(|| Home::Node(node));
        single
    }

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
        let mut all = Self::new(Some(router.clone()), target);
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

    fn new(router: Option<Router>, target: &Target) -> Self {
        let names = target.names();
        let homes = names.iter().map(|_| Home::Unknown).collect();
        Self { router, names, homes, nodes: Vec::new(), searches: JoinSet::new() }
    }

    /// Whether who serves a name knows of everybody who hears it. The node of a cluster that a plain message is published
    /// to does not.
    pub(crate) fn know_the_receivers(&self, target: &Target) -> bool {
        let is_cluster = self.router.as_ref().is_some_and(Router::is_cluster);
        target.to == To::Channel && (target.sharding.is_some() || !is_cluster)
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

    /// The connection to a node, unless it broke.
    pub(crate) fn to(&self, node: usize) -> Option<&MultiplexedConnection> {
        self.nodes[node].connection.as_ref()
    }

    /// Begins to look for who serves a name, unless that is known or being looked for.
    pub(crate) fn seek(&mut self, name: usize) {
        let Some(router) = self.router.clone().filter(|_| self.homes[name] == Home::Unknown) else { return };
        self.homes[name] = Home::Asked;
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
        let Some(router) = self.among_several() else { return false };
        let passes = matches!(
            refusal.code(),
            Some("MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN" | "LOADING" | "MASTERDOWN" | "READONLY")
        );
        if passes {
            router.learn(refusal);
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
        if self.among_several().is_some() {
            self.forget(&Home::Node(node));
        }
    }

    /// Gives up a connection that broke, if somebody else may serve its names. Else that is an end.
    pub(crate) fn lose(&mut self, node: usize) -> bool {
        let has_others = self.among_several().is_some();
        if has_others {
            self.nodes[node].connection = None;
            self.forget(&Home::Node(node));
        }
        has_others
    }

    /// Who tells which server it is now, where it may be another one than before.
    fn among_several(&self) -> Option<&Router> {
        self.router.as_ref().filter(|router| router.has_others())
    }

    /// The node at this place, if there is a connection.
    fn node_at(&self, place: &Place) -> Option<usize> {
        self.nodes.iter().position(|node| node.place == *place && node.connection.is_some())
    }

    fn node_with(&mut self, place: Place, connection: MultiplexedConnection) -> usize {
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
        if !self.homes.contains(&opened)
            && let Some(router) = self.router.clone()
        {
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
