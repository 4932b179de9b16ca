//! The nodes of a cluster: which of them is the primary of a slot.

mod map;

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

pub(crate) use self::map::{Map, Node, State, View};
use crate::shards::ShardSet;
use crate::slot::SLOTS;

/// What is known of a cluster, shared by all connections of a group.
///
/// Nodes are asked when a connection is opened and the map is not fresh, and also every [`Cluster::REFRESH`]. A
/// `MOVED` from a node counts at once.
pub(crate) struct Cluster {
    known: Mutex<Known>,
    /// Counts the changes.
    changes: watch::Sender<u64>,
    /// Locked while nodes are asked. Holds the time of the last round.
    asked: tokio::sync::Mutex<Option<Instant>>,
}

struct Known {
    map: Map,
    /// The highest epoch that the node which sent the map had heard of.
    epoch: u64,
    /// Whether that node found the cluster in order.
    is_sound: bool,
    /// When the map was received.
    updated: Instant,
    /// The latest time when the state before the last change was still reported.
    until: Instant,
    /// Single slots that a `MOVED` named, with the node and the time. Each overrides the map for [`Cluster::REDIRECT_LASTS`],
    /// because other nodes may not have heard of it yet.
    moved: HashMap<u16, (Node, Instant)>,
    /// Nodes of earlier maps, which can be asked as well.
    former: Vec<Node>,
    /// Nodes to which no connection could be opened, and when.
    suspected: HashMap<Node, Instant>,
}

/// The right to ask the nodes. One caller asks, and all others share the answer.
pub(crate) struct Turn<'a> {
    cluster: &'a Cluster,
    asked: tokio::sync::MutexGuard<'a, Option<Instant>>,
}

impl Cluster {
    /// How often the nodes are asked without an event.
    pub(crate) const REFRESH: Duration = Duration::from_secs(3);
    /// A new connection trusts answers that are this recent.
    pub(crate) const FRESH: Duration = Duration::from_millis(50);

    /// How long a node is avoided after a failed connection, if there are others.
    const AVOIDED: Duration = Duration::from_secs(10);
    /// How long a good map is kept if no node has a good one any more.
    const SOUND_MAP_LASTS: Duration = Duration::from_secs(10);
    /// How long nodes may take to hear from each other that a slot has moved.
    const REDIRECT_LASTS: Duration = Duration::from_secs(2);

    pub(crate) fn new(view: View) -> Self {
        let now = Instant::now();
        let known = Known {
            is_sound: view.is_sound(0),
            map: view.map,
            epoch: view.state.epoch.unwrap_or(0),
            updated: now,
            until: now,
            moved: HashMap::new(),
            former: Vec::new(),
            suspected: HashMap::new(),
        };
        Self {
            known: Mutex::new(known),
            changes: watch::Sender::new(0),
            asked: tokio::sync::Mutex::new(Some(now)),
        }
    }

    /// The primary of a slot, if it is known.
    pub(crate) fn primary(&self, slot: u16) -> Option<Node> {
        self.lock().primary(slot).cloned()
    }

    /// Any node of the cluster: the primary of the slot, unless connections fail to it and not to another node. `None`
    /// if no node is known.
    pub(crate) fn any(&self, slot: u16) -> Option<Node> {
        let known = self.lock();
        let all = || known.primary(slot).into_iter().chain(known.map.nodes());
        all().find(|node| !known.is_avoided(node)).or(all().next()).cloned()
    }

    /// No connection to this node could be opened.
    pub(crate) fn suspect(&self, node: &Node) {
        let mut known = self.lock();
        known.suspected.retain(|_, since| since.elapsed() < Self::AVOIDED);
        known.suspected.insert(node.clone(), Instant::now());
    }

    /// The slots without a node, such as `5461-10922`, if there are any.
    pub(crate) fn unserved(&self) -> Option<String> {
        let known = self.lock();
        let slots: ShardSet =
            (0..SLOTS).filter(|slot| known.primary(*slot).is_none()).map(u32::from).collect();
        (!slots.is_empty()).then(|| slots.to_string())
    }

    /// Learns from a refusal like `MOVED 3999 127.0.0.1:6381`. One without a host is ignored: the nodes are asked
    /// before the next connection is opened.
    pub(crate) fn learn(&self, answer: &str) {
        let mut words = answer.split_whitespace();
        let (Some("MOVED"), Some(slot), Some(to)) = (words.next(), words.next(), words.next()) else {
            return;
        };
        let (Ok(slot), Some(node)) = (slot.parse(), Node::read(to)) else { return };
        let mut known = self.lock();
        if known.primary(slot) != Some(&node) {
            known.moved.insert(slot, (node, Instant::now()));
            known.until = known.updated;
            drop(known);
            self.changes.send_modify(|change| *change += 1);
        }
    }

    /// The turn to ask the nodes, unless that was done within `fresh`. One caller asks, and all others share the
    /// answer.
    pub(crate) async fn turn(&self, fresh: Duration) -> Option<Turn<'_>> {
        let asked = self.asked.lock().await;
        let known = asked.is_some_and(|asked| asked.elapsed() < fresh);
        (!known).then_some(Turn { cluster: self, asked })
    }

    /// Waits until the slot has another primary than this node. Returns a time when it still had this one.
    pub(crate) async fn left(&self, slot: u16, node: &Node) -> Instant {
        let mut changes = self.changes.subscribe();
        loop {
            if self.primary(slot).is_some_and(|primary| primary != *node) {
                return self.lock().until;
            }
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Waits until the node is not part of the cluster any more. Returns a time when it still was.
    pub(crate) async fn gone(&self, node: &Node) -> Instant {
        let mut changes = self.changes.subscribe();
        while self.lock().map.nodes().contains(node) {
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
        self.lock().until
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Whether a connection to this node failed a short while ago.
    fn is_avoided(&self, node: &Node) -> bool {
        self.suspected.get(node).is_some_and(|since| since.elapsed() < Cluster::AVOIDED)
    }

    fn primary(&self, slot: u16) -> Option<&Node> {
        let moved = self.moved.get(&slot).map(|(node, _)| node);
        moved.or_else(|| self.map.primary(slot))
    }
}

impl Turn<'_> {
    /// How many nodes of earlier maps are remembered: as many as a cluster may have.
    const MOST_FORMER: usize = 1000;

    /// The nodes in the order to ask them.
    pub(crate) fn nodes(&self) -> Vec<Node> {
        let known = self.cluster.lock();
        let mut nodes: Vec<_> = known.map.nodes().iter().chain(&known.former).cloned().collect();
        nodes.sort_by_key(|node| known.is_avoided(node));
        nodes
    }

    /// Whether a node's answer is good enough, so that no other node has to be asked.
    pub(crate) fn is_sound(&self, view: &View) -> bool {
        view.is_sound(self.cluster.lock().epoch)
    }

    /// Ends the turn with the best of the answers, if there are any.
    pub(crate) fn end(mut self, views: Vec<View>) {
        let now = Instant::now();
        *self.asked = Some(now);
        let mut known = self.cluster.lock();
        let better =
            |best: View, next: View| if next.is_better_than(&best, known.epoch) { next } else { best };
        let Some(best) = views.into_iter().reduce(better) else { return };
        // A node with a better map may just have been slow to answer.
        if !best.is_sound(known.epoch) && known.is_sound && known.updated.elapsed() < Cluster::SOUND_MAP_LASTS
        {
            return;
        }
        known.is_sound = best.is_sound(known.epoch);
        let View { by, mut map, state } = best;
        // A node that this map lacks may later be the only one that answers.
        let current: HashSet<_> = map.nodes().iter().cloned().collect();
        let others = known.map.nodes().iter().chain(&known.former).filter(|node| !current.contains(*node));
        known.former = others.take(Self::MOST_FORMER).cloned().collect();
        // The node that answered is asked first the next time, if it is in its own map.
        if let Some(node) = by {
            map.prefer(&node);
        }
        let mut moved = known.moved.clone();
        moved.retain(|_, (_, heard)| heard.elapsed() < Cluster::REDIRECT_LASTS);
        let changed = known.map != map || known.moved != moved;
        if !known.map.serves_as(&map) {
            known.until = known.updated;
        }
        (known.map, known.moved, known.updated) = (map, moved, now);
        known.epoch = state.epoch.unwrap_or(known.epoch);
        drop(known);
        if changed {
            self.cluster.changes.send_modify(|change| *change += 1);
        }
    }
}

#[cfg(test)]
mod tests;
