//! The connections of a load: one to each node that serves a name of its target.

use redis::RedisError;
use redis::aio::MultiplexedConnection;
use redis_consumer_group::client::{Place, Router, connect};
use redis_consumer_group::{Address, Error, Tls};

use super::target::{Target, To};

/// Who serves each name, as far as it is known, and the connection there. Outside of a cluster that is one for all.
pub(crate) struct Connections {
    /// `None` where the address takes everything.
    router: Option<Router>,
    names: Vec<String>,
    /// For each name the number of its node; `None` when that has to be asked.
    homes: Vec<Option<usize>>,
    /// By number, which a node keeps.
    nodes: Vec<Node>,
}

struct Node {
    place: Place,
    /// `None` once it broke.
    connection: Option<MultiplexedConnection>,
}

impl Connections {
    /// This one connection for all names.
    pub(crate) fn single(connection: MultiplexedConnection, target: &Target) -> Self {
        let names = target.names();
        let node = Node { place: Place::default(), connection: Some(connection) };
        Self { router: None, homes: vec![Some(0); names.len()], names, nodes: vec![node] }
    }

    /// Connects to everyone who serves a name of the target.
    ///
    /// # Errors
    /// A server that is not reachable or refuses the login; sharded channels of what is no cluster.
    pub(crate) async fn open(address: &Address, tls: &Tls, target: &Target) -> Result<Self, Error> {
        // A plain channel is the same one at every node.
        if target.to == To::Channel && target.sharding.is_none() {
            return Ok(Self::single(connect(address, tls).await?, target));
        }
        let router = Router::new(address, tls).await?;
        if target.to == To::Channel {
            router.must_be_a_cluster()?;
        }
        let names = target.names();
        let mut all = Self { router: Some(router), homes: vec![None; names.len()], names, nodes: Vec::new() };
        for name in 0..all.names.len() {
            all.find(name).await?;
        }
        Ok(all)
    }

    pub(crate) fn name(&self, name: usize) -> &str {
        &self.names[name]
    }

    pub(crate) fn names(&self) -> usize {
        self.names.len()
    }

    /// How many nodes there have been.
    pub(crate) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The number of the node that a message for this name goes to, where there is a connection.
    pub(crate) fn home(&self, name: usize) -> Option<usize> {
        self.homes[name].filter(|node| self.nodes[*node].connection.is_some())
    }

    /// The connection to a node, unless it broke.
    pub(crate) fn to(&self, node: usize) -> Option<&MultiplexedConnection> {
        self.nodes[node].connection.as_ref()
    }

    /// Finds out who serves a name now, and connects to it, so that it has a [`home`](Self::home).
    ///
    /// # Errors
    /// Where that does not work for five seconds. May be dropped before it is done.
    pub(crate) async fn find(&mut self, name: usize) -> Result<(), Error> {
        let Some(router) = &self.router else { return Ok(()) };
        let key = &self.names[name];
        let place = router.place(key).await?;
        let known = self.nodes.iter().position(|node| node.place == place && node.connection.is_some());
        let home = match known {
            Some(node) => node,
            None => {
                let (place, connection) = router.connect(key).await?;
                let known = self.nodes.iter().position(|node| node.place == place);
                let node = Node { place, connection: Some(connection) };
                match known {
                    Some(at) => {
                        self.nodes[at] = node;
                        at
                    }
                    None => {
                        self.nodes.push(node);
                        self.nodes.len() - 1
                    }
                }
            }
        };
        self.homes[name] = Some(home);
        Ok(())
    }

    /// Whether a refusal only means that the name is on its way to another node, or will be served again. Then its
    /// home is to be found anew.
    pub(crate) fn follows(&mut self, name: usize, refusal: &RedisError) -> bool {
        let Some(router) = self.router.as_ref().filter(|router| router.is_cluster()) else { return false };
        let passes = matches!(
            refusal.code(),
            Some("MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN" | "LOADING" | "MASTERDOWN")
        );
        if passes {
            router.learn(refusal);
            self.homes[name] = None;
        }
        passes
    }

    /// Gives up a connection that broke, if somebody else may serve its names. Else that is an end.
    pub(crate) fn lose(&mut self, node: usize) -> bool {
        let is_cluster = self.router.as_ref().is_some_and(Router::is_cluster);
        if is_cluster {
            self.nodes[node].connection = None;
        }
        is_cluster
    }
}
