//! The nodes of a cluster: which of them is the primary of a slot.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::reply::Reply;
use crate::shards::ShardSet;
use crate::slot::SLOTS;

/// What is known of a cluster. Shared by everything of a group that opens connections.
///
/// It is asked for again whenever a connection is opened and what is known is not of this moment, and every
/// [`Cluster::REFRESH`] beside that; what a node says in a `MOVED` counts at once.
pub(crate) struct Cluster {
    map: Mutex<Map>,
    /// The number of the last change.
    changes: watch::Sender<u64>,
    /// Held by whoever asks the nodes; when they were last asked.
    asked: tokio::sync::Mutex<Option<Instant>>,
}

/// The right to ask the nodes, for all who want to know.
pub(crate) struct Turn<'a> {
    cluster: &'a Cluster,
    asked: tokio::sync::MutexGuard<'a, Option<Instant>>,
}

/// The address of a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Which node serves what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Map {
    ranges: Vec<Range>,
    /// All nodes that were told of, primaries first.
    nodes: Vec<Node>,
    /// What nodes have said of single slots, and when. It counts for [`Cluster::HEARSAY`], whatever others say that have
    /// not heard of it yet.
    moved: HashMap<u16, (Node, Instant)>,
    /// Whom to ask besides: nodes of earlier maps.
    former: Vec<Node>,
}

/// Neighbouring slots of one primary.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Range {
    first: u16,
    last: u16,
    primary: Node,
}

impl Cluster {
    /// How often the nodes are asked while nothing happens.
    pub(crate) const REFRESH: Duration = Duration::from_secs(3);
    /// What was learned this recently is taken for true by whoever opens a connection.
    pub(crate) const FRESH: Duration = Duration::from_millis(50);

    /// How long nodes may take to hear from each other where a slot has gone.
    const HEARSAY: Duration = Duration::from_secs(2);

    pub(crate) fn new(map: Map) -> Self {
        Self {
            map: Mutex::new(map),
            changes: watch::Sender::new(0),
            asked: tokio::sync::Mutex::new(Some(Instant::now())),
        }
    }

    /// The primary of a slot, as far as it is known.
    pub(crate) fn primary(&self, slot: u16) -> Option<Node> {
        self.lock().primary(slot).cloned()
    }

    /// The slots that no node has, as in `5461-10922`, if there are any.
    pub(crate) fn unserved(&self) -> Option<String> {
        let map = self.lock();
        let slots: ShardSet = (0..SLOTS).filter(|slot| map.primary(*slot).is_none()).map(u32::from).collect();
        (!slots.is_empty()).then(|| slots.to_string())
    }

    /// Learns from a refusal like `MOVED 3999 127.0.0.1:6381`. Where it names no host, that is `host`.
    pub(crate) fn learn(&self, answer: &str, host: Option<&str>) {
        let mut words = answer.split_whitespace();
        let (Some("MOVED"), Some(slot), Some(to)) = (words.next(), words.next(), words.next()) else {
            return;
        };
        let (Ok(slot), Some(node)) = (slot.parse(), Node::read(to, host)) else { return };
        let mut map = self.lock();
        if map.primary(slot) != Some(&node) {
            map.moved.insert(slot, (node, Instant::now()));
            drop(map);
            self.changes.send_modify(|change| *change += 1);
        }
    }

    /// The turn to ask the nodes, unless that was done within `fresh`: one asks for all who want to know.
    pub(crate) async fn turn(&self, fresh: Duration) -> Option<Turn<'_>> {
        let asked = self.asked.lock().await;
        let known = asked.is_some_and(|asked| asked.elapsed() < fresh);
        (!known).then_some(Turn { cluster: self, asked })
    }

    /// Comes back when the primary of the slot is not this node any more.
    pub(crate) async fn left(&self, slot: u16, node: &Node) {
        let mut changes = self.changes.subscribe();
        loop {
            if self.primary(slot).is_some_and(|primary| primary != *node) {
                return;
            }
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Comes back when the node is no part of the cluster any more.
    pub(crate) async fn gone(&self, node: &Node) {
        let mut changes = self.changes.subscribe();
        while self.lock().nodes.contains(node) {
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Map> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// Whom to ask, best first.
    pub(crate) fn nodes(&self) -> Vec<Node> {
        let map = self.cluster.lock();
        map.nodes.iter().chain(&map.former).cloned().collect()
    }

    /// Ends with what a node has told, if one did.
    pub(crate) fn end(mut self, told: Option<(Option<Node>, Map)>) {
        *self.asked = Some(Instant::now());
        let Some((node, mut map)) = told else { return };
        let mut known = self.cluster.lock();
        // Who is not told of now may be the only one to know, later.
        let others = known.nodes.iter().chain(&known.former).filter(|node| !map.nodes.contains(node));
        map.former = others.take(Map::MOST_NODES).cloned().collect();
        // Whoever does not answer is not asked first the next time, nor is a node that is no part of what it tells.
        if let Some(at) = map.nodes.iter().position(|other| Some(other) == node.as_ref()) {
            map.nodes.swap(0, at);
        }
        map.moved = std::mem::take(&mut known.moved);
        map.moved.retain(|_, (_, heard)| heard.elapsed() < Cluster::HEARSAY);
        let changed = (&known.ranges, &known.nodes) != (&map.ranges, &map.nodes) || !map.moved.is_empty();
        *known = map;
        drop(known);
        if changed {
            self.cluster.changes.send_modify(|change| *change += 1);
        }
    }
}

impl Map {
    /// The cluster's own limit.
    const MOST_NODES: usize = 1000;

    /// Reads the answer to `CLUSTER SLOTS`. A node that does not say its host is meant by the one that was asked.
    pub(crate) fn read(reply: &Reply<'_>, asked: &str) -> Option<Self> {
        let Reply::Array(Some(entries)) = reply else { return None };
        let mut map = Self::default();
        let mut replicas = Vec::new();
        for entry in entries {
            let Reply::Array(Some(parts)) = entry else { return None };
            let [Reply::Int(first), Reply::Int(last), primary, others @ ..] = parts.as_slice() else {
                return None;
            };
            // A node without an address serves nobody.
            let Some(primary) = Node::of_slots(primary, asked) else { continue };
            let slot = |slot: i64| u16::try_from(slot).ok().filter(|slot| *slot < SLOTS);
            if !map.nodes.contains(&primary) {
                map.nodes.push(primary.clone());
            }
            map.ranges.push(Range { first: slot(*first)?, last: slot(*last)?, primary });
            replicas.extend(others.iter().filter_map(|other| Node::of_slots(other, asked)));
        }
        for replica in replicas {
            if !map.nodes.contains(&replica) {
                map.nodes.push(replica);
            }
        }
        map.ranges.sort_by_key(|range| range.first);
        Some(map)
    }

    /// Whether every slot has a node.
    pub(crate) fn is_whole(&self) -> bool {
        let mut next = 0;
        for range in &self.ranges {
            if range.first != next {
                return false;
            }
            next = range.last + 1;
        }
        next == SLOTS
    }

    fn primary(&self, slot: u16) -> Option<&Node> {
        if let Some((node, _)) = self.moved.get(&slot) {
            return Some(node);
        }
        let after = self.ranges.partition_point(|range| range.first <= slot);
        let range = self.ranges.get(after.checked_sub(1)?)?;
        (slot <= range.last).then_some(&range.primary)
    }
}

impl Node {
    /// Reads `host:port`, where an empty host is the one that was asked.
    fn read(text: &str, asked: Option<&str>) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        // A node of Redis 7 tells its hostname in brackets behind the port, and it is the same node.
        let port = port.split(',').next()?.parse().ok()?;
        let host = if host.is_empty() || host == "?" { asked? } else { host };
        Some(Self { host: host.to_owned(), port })
    }

    /// Reads a node of `CLUSTER SLOTS`: host, port, id, and more in later versions.
    fn of_slots(reply: &Reply<'_>, asked: &str) -> Option<Self> {
        let Reply::Array(Some(parts)) = reply else { return None };
        let [host, Reply::Int(port), ..] = parts.as_slice() else { return None };
        let host = match host {
            Reply::Bulk(Some(host)) if !host.is_empty() && *host != b"?" => std::str::from_utf8(host).ok()?,
            Reply::Bulk(_) => asked,
            _ => return None,
        };
        Some(Self { host: host.to_owned(), port: u16::try_from(*port).ok().filter(|port| *port > 0)? })
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}
