//! The nodes of a cluster: which of them is the primary of a slot.

mod map;

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

pub(crate) use self::map::{Map, Node, State, Told};
use crate::shards::ShardSet;
use crate::slot::SLOTS;

/// What is known of a cluster. Shared by everything of a group that opens connections.
///
/// It is asked for again whenever a connection is opened and what is known is not of this moment, and every
/// [`Cluster::REFRESH`] beside that; what a node says in a `MOVED` counts at once.
pub(crate) struct Cluster {
    known: Mutex<Known>,
    /// The number of the last change.
    changes: watch::Sender<u64>,
    /// Held by whoever asks the nodes; when they were last asked.
    asked: tokio::sync::Mutex<Option<Instant>>,
}

struct Known {
    map: Map,
    /// The highest epoch that whoever told it had heard of.
    epoch: u64,
    /// Whether it found the cluster in order.
    is_sound: bool,
    /// When it was told.
    told: Instant,
    /// What changed last was still as before at this time.
    until: Instant,
    /// What nodes have said of single slots, and when. It counts for [`Cluster::HEARSAY`], whatever others say that have
    /// not heard of it yet.
    moved: HashMap<u16, (Node, Instant)>,
    /// Whom to ask besides: nodes of earlier maps.
    former: Vec<Node>,
    /// Nodes that no connection came about to, and when.
    doubted: HashMap<Node, Instant>,
}

/// The right to ask the nodes, for all who want to know.
pub(crate) struct Turn<'a> {
    cluster: &'a Cluster,
    asked: tokio::sync::MutexGuard<'a, Option<Instant>>,
}

impl Cluster {
    /// How often the nodes are asked while nothing happens.
    pub(crate) const REFRESH: Duration = Duration::from_secs(3);
    /// What was learned this recently is taken for true by whoever opens a connection.
    pub(crate) const FRESH: Duration = Duration::from_millis(50);

    /// How long a node is avoided that no connection came about to, where there are others.
    const AVOIDED: Duration = Duration::from_secs(10);
    /// How long a good map counts rather than a worse one, if nobody has a good one any more.
    const BELIEVED: Duration = Duration::from_secs(10);
    /// How long nodes may take to hear from each other where a slot has gone.
    const HEARSAY: Duration = Duration::from_secs(2);

    pub(crate) fn new(told: Told) -> Self {
        let now = Instant::now();
        let known = Known {
            is_sound: told.is_sound(0),
            map: told.map,
            epoch: told.state.epoch.unwrap_or(0),
            told: now,
            until: now,
            moved: HashMap::new(),
            former: Vec::new(),
            doubted: HashMap::new(),
        };
        Self {
            known: Mutex::new(known),
            changes: watch::Sender::new(0),
            asked: tokio::sync::Mutex::new(Some(now)),
        }
    }

    /// The primary of a slot, as far as it is known.
    pub(crate) fn primary(&self, slot: u16) -> Option<Node> {
        self.lock().primary(slot).cloned()
    }

    /// A node of the cluster: the primary of the slot, unless no connection to it came about, but to others. `None` where no
    /// node is known.
    pub(crate) fn any(&self, slot: u16) -> Option<Node> {
        let known = self.lock();
        let all = || known.primary(slot).into_iter().chain(known.map.nodes());
        all().find(|node| !known.is_avoided(node)).or(all().next()).cloned()
    }

    /// No connection to this node came about.
    pub(crate) fn doubt(&self, node: &Node) {
        let mut known = self.lock();
        known.doubted.retain(|_, since| since.elapsed() < Self::AVOIDED);
        known.doubted.insert(node.clone(), Instant::now());
    }

    /// The slots that no node has, as in `5461-10922`, if there are any.
    pub(crate) fn unserved(&self) -> Option<String> {
        let known = self.lock();
        let slots: ShardSet =
            (0..SLOTS).filter(|slot| known.primary(*slot).is_none()).map(u32::from).collect();
        (!slots.is_empty()).then(|| slots.to_string())
    }

    /// Learns from a refusal like `MOVED 3999 127.0.0.1:6381`. One that names no host says nothing: the nodes are asked
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
            known.until = known.told;
            drop(known);
            self.changes.send_modify(|change| *change += 1);
        }
    }

    /// The turn to ask the nodes, unless that was done within `fresh`: one asks for all who want to know.
    pub(crate) async fn turn(&self, fresh: Duration) -> Option<Turn<'_>> {
        let asked = self.asked.lock().await;
        let known = asked.is_some_and(|asked| asked.elapsed() < fresh);
        (!known).then_some(Turn { cluster: self, asked })
    }

    /// Comes back when the primary of the slot is not this node any more, with a time when it still was.
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

    /// Comes back when the node is no part of the cluster any more, with a time when it still was.
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
    /// Whether no connection to this node came about a short while ago.
    fn is_avoided(&self, node: &Node) -> bool {
        self.doubted.get(node).is_some_and(|since| since.elapsed() < Cluster::AVOIDED)
    }

    fn primary(&self, slot: u16) -> Option<&Node> {
        let moved = self.moved.get(&slot).map(|(node, _)| node);
        moved.or_else(|| self.map.primary(slot))
    }
}

impl Turn<'_> {
    /// Nodes of earlier maps that are remembered: the cluster's own limit.
    const MOST_FORMER: usize = 1000;

    /// Whom to ask, best first.
    pub(crate) fn nodes(&self) -> Vec<Node> {
        let known = self.cluster.lock();
        let mut nodes: Vec<_> = known.map.nodes().iter().chain(&known.former).cloned().collect();
        nodes.sort_by_key(|node| known.is_avoided(node));
        nodes
    }

    /// Whether what a node tells will do, so that nobody else has to be asked.
    pub(crate) fn is_sound(&self, told: &Told) -> bool {
        told.is_sound(self.cluster.lock().epoch)
    }

    /// Ends with the best of what nodes have told, if any did.
    pub(crate) fn end(mut self, told: Vec<Told>) {
        let now = Instant::now();
        *self.asked = Some(now);
        let mut known = self.cluster.lock();
        let better =
            |best: Told, next: Told| if next.is_better_than(&best, known.epoch) { next } else { best };
        let Some(best) = told.into_iter().reduce(better) else { return };
        // Who has the better of it may just have been slow to answer.
        if !best.is_sound(known.epoch) && known.is_sound && known.told.elapsed() < Cluster::BELIEVED {
            return;
        }
        known.is_sound = best.is_sound(known.epoch);
        let Told { by, mut map, state } = best;
        // Who is not told of now may be the only one to know, later.
        let told: HashSet<_> = map.nodes().iter().cloned().collect();
        let others = known.map.nodes().iter().chain(&known.former).filter(|node| !told.contains(*node));
        known.former = others.take(Self::MOST_FORMER).cloned().collect();
        // Whoever does not answer is not asked first the next time, nor is a node that is no part of what it tells.
        if let Some(node) = by {
            map.prefer(&node);
        }
        let mut moved = known.moved.clone();
        moved.retain(|_, (_, heard)| heard.elapsed() < Cluster::HEARSAY);
        let changed = known.map != map || known.moved != moved;
        if !known.map.serves_as(&map) {
            known.until = known.told;
        }
        (known.map, known.moved, known.told) = (map, moved, now);
        known.epoch = state.epoch.unwrap_or(known.epoch);
        drop(known);
        if changed {
            self.cluster.changes.send_modify(|change| *change += 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::map::tests::{map, node};
    use super::*;

    /// Node 1 has the lower half of the slots, node 2 the upper one.
    const HALVES: [(u16, u16, u16); 2] = [(0, 8191, 1), (8192, 16_383, 2)];

    fn cluster() -> Cluster {
        Cluster::new(tells(1, &HALVES, 1))
    }

    fn tells(by: u16, ranges: &[(u16, u16, u16)], epoch: u64) -> Told {
        Told { by: Some(node(by)), map: map(ranges), state: State { is_ok: true, epoch: Some(epoch) } }
    }

    async fn told(cluster: &Cluster, by: u16, ranges: &[(u16, u16, u16)]) {
        cluster.turn(Duration::ZERO).await.unwrap().end(vec![tells(by, ranges, 1)]);
    }

    async fn asked_next(cluster: &Cluster) -> Vec<u16> {
        let turn = cluster.turn(Duration::ZERO).await.unwrap();
        turn.nodes().iter().map(|node| node.port).collect()
    }

    async fn is_over(waiting: impl Future<Output = Instant>) -> bool {
        tokio::select! {
            biased;
            _ = waiting => true,
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_sends_us_elsewhere_is_believed_for_two_seconds_whatever_others_say() {
        let cluster = cluster();
        cluster.learn("MOVED 7 127.0.0.1:2");
        assert_eq!(cluster.primary(7), Some(node(2)));
        assert_eq!(cluster.primary(8), Some(node(1)));
        told(&cluster, 1, &HALVES).await;
        assert_eq!(cluster.primary(7), Some(node(2)), "node 1 has not heard of it yet");
        tokio::time::advance(Cluster::HEARSAY).await;
        told(&cluster, 1, &HALVES).await;
        assert_eq!(cluster.primary(7), Some(node(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_where_a_slot_has_left_is_told_also_when_it_was_hearsay() {
        let cluster = cluster();
        let (one, two) = (node(1), node(2));
        assert!(!is_over(cluster.left(7, &one)).await);
        cluster.learn("MOVED 7 127.0.0.1:2");
        assert!(is_over(cluster.left(7, &one)).await);
        let at_two = cluster.left(7, &two);
        let mut at_two = std::pin::pin!(at_two);
        assert!(!is_over(at_two.as_mut()).await);
        tokio::time::advance(Cluster::HEARSAY).await;
        told(&cluster, 1, &HALVES).await;
        assert!(is_over(at_two).await, "what was heard has turned out to be wrong");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_word_of_another_node_is_not_learnt() {
        let cluster = cluster();
        for answer in [
            "ASK 7 127.0.0.1:2",
            "MOVED",
            "MOVED 7",
            "MOVED x 127.0.0.1:2",
            "MOVED 7 127.0.0.1",
            "MOVED 7 :2",
            "MOVED 7 ?:2",
        ] {
            cluster.learn(answer);
            assert_eq!(cluster.primary(7), Some(node(1)), "{answer}");
        }
        cluster.learn("MOVED 7 ::1:2");
        assert_eq!(cluster.primary(7), Some(Node { host: "::1".to_owned(), port: 2 }));
    }

    #[tokio::test(start_paused = true)]
    async fn one_asks_for_all_and_the_one_who_answered_is_asked_first_the_next_time() {
        let cluster = cluster();
        assert!(cluster.turn(Cluster::FRESH).await.is_none(), "it was just made");
        tokio::time::advance(Cluster::FRESH).await;
        let turn = cluster.turn(Cluster::FRESH).await.unwrap();
        turn.end(vec![tells(2, &HALVES, 1)]);
        assert!(cluster.turn(Cluster::FRESH).await.is_none());
        assert_eq!(asked_next(&cluster).await, [2, 1]);
        told(&cluster, 9, &HALVES).await;
        assert_eq!(asked_next(&cluster).await, [1, 2], "node 9 is no part of what it tells");
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_that_have_left_are_asked_last_and_whoever_is_at_one_is_told() {
        let cluster = cluster();
        let one = node(1);
        told(&cluster, 3, &[(0, 16_383, 3)]).await;
        assert_eq!(asked_next(&cluster).await, [3, 1, 2]);
        assert!(is_over(cluster.gone(&one)).await);
        assert!(!is_over(cluster.gone(&node(3))).await);
        told(&cluster, 1, &HALVES).await;
        assert_eq!(asked_next(&cluster).await, [1, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_cannot_be_reached_is_avoided_for_a_while_where_others_can() {
        let cluster = cluster();
        assert_eq!(cluster.any(7), Some(node(1)));
        cluster.doubt(&node(1));
        assert_eq!(cluster.any(7), Some(node(2)));
        told(&cluster, 2, &HALVES).await;
        assert_eq!(cluster.any(7), Some(node(2)), "also by a new map");
        cluster.doubt(&node(2));
        assert_eq!(cluster.any(7), Some(node(1)), "nobody else is left");
        tokio::time::advance(Cluster::AVOIDED).await;
        assert_eq!((cluster.any(7), cluster.any(16_383)), (Some(node(1)), Some(node(2))));
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_missed_a_failover_is_not_believed_and_the_time_before_it_is_known() {
        let cluster = cluster();
        tokio::time::advance(Duration::from_secs(3)).await;
        told(&cluster, 1, &HALVES).await;
        let before = Instant::now();
        tokio::time::advance(Duration::from_secs(3)).await;
        let failed_over = [(0, 8191, 3), (8192, 16_383, 2)];
        let turn = cluster.turn(Duration::ZERO).await.unwrap();
        assert!(turn.is_sound(&tells(1, &HALVES, 1)), "nobody knows of another epoch yet");
        turn.end(vec![tells(1, &HALVES, 1), tells(2, &failed_over, 2)]);
        assert_eq!(cluster.primary(7), Some(node(3)), "who has heard of more is believed");
        assert_eq!(cluster.left(7, &node(1)).await, before);
        tokio::time::advance(Duration::from_secs(3)).await;
        let turn = cluster.turn(Duration::ZERO).await.unwrap();
        assert!(!turn.is_sound(&tells(1, &HALVES, 1)));
        turn.end(vec![tells(1, &HALVES, 1), tells(2, &failed_over, 2)]);
        assert_eq!(cluster.primary(7), Some(node(3)));
        assert_eq!(cluster.left(7, &node(1)).await, before);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worse_map_does_not_replace_a_better_one_unless_nobody_has_a_better_one_for_long() {
        let cluster = cluster();
        let failed_over = [(0, 8191, 3), (8192, 16_383, 2)];
        cluster.turn(Duration::ZERO).await.unwrap().end(vec![tells(2, &failed_over, 2)]);
        // The others are slow to answer just now.
        cluster.turn(Duration::ZERO).await.unwrap().end(vec![tells(1, &HALVES, 1)]);
        assert_eq!(cluster.primary(7), Some(node(3)));
        tokio::time::advance(Cluster::BELIEVED).await;
        cluster.turn(Duration::ZERO).await.unwrap().end(vec![tells(1, &HALVES, 1)]);
        assert_eq!(cluster.primary(7), Some(node(1)), "the cluster was made anew");
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_that_cannot_be_reached_are_asked_last() {
        let cluster = cluster();
        cluster.doubt(&node(1));
        assert_eq!(asked_next(&cluster).await, [2, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_stays_where_nobody_answers() {
        let cluster = cluster();
        cluster.turn(Duration::ZERO).await.unwrap().end(Vec::new());
        assert_eq!(cluster.primary(16_383), Some(node(2)));
        assert_eq!(cluster.unserved(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn slots_that_no_node_has_are_named() {
        let cluster = Cluster::new(tells(1, &[(0, 99, 1), (110, 16_382, 2)], 1));
        assert_eq!(cluster.unserved().as_deref(), Some("100-109,16383"));
        assert_eq!(cluster.primary(105), None);
        assert!(!is_over(cluster.left(105, &node(1))).await, "nobody else has it");
    }
}
