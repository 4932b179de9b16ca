//! A map of the slots, as one node of a cluster reports it.

use std::collections::HashSet;
use std::fmt;

use crate::redis::info::{text, value};
use crate::redis::reply::Reply;
use crate::slot::SLOTS;

/// The address of a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Which node serves which slots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Map {
    /// Sorted by slots.
    ranges: Vec<Range>,
    /// All nodes of the reply, primaries first.
    nodes: Vec<Node>,
}

/// What one node reports about the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    /// The node that was asked; `None` for the configured address.
    pub(crate) by: Option<Node>,
    pub(crate) map: Map,
    pub(crate) state: State,
}

/// What a node reports about the cluster's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    /// Whether the node reaches most of the others, and finds the slots served that it needs.
    pub(crate) is_ok: bool,
    /// The highest epoch that it has heard of. Each failover has a higher one. `None` if we may not ask.
    pub(crate) epoch: Option<u64>,
}

/// Consecutive slots of one primary.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Range {
    first: u16,
    last: u16,
    primary: Node,
}

impl View {
    /// Whether no other node has to be asked. `epoch` is the highest that is known already.
    pub(super) fn is_sound(&self, epoch: u64) -> bool {
        self.map.is_whole() && self.state.is_ok && self.is_recent(epoch)
    }

    /// Whether this answer counts more than that of another node. `epoch` is the highest that is known already.
    pub(super) fn is_better_than(&self, other: &Self, epoch: u64) -> bool {
        let rank =
            |view: &Self| (view.state.is_ok, view.is_recent(epoch), view.map.is_whole(), view.state.epoch);
        rank(self) > rank(other)
    }

    fn is_recent(&self, epoch: u64) -> bool {
        self.state.epoch.is_none_or(|own| own >= epoch)
    }
}

impl State {
    /// The state of a node that does not report it.
    pub(crate) const UNKNOWN: Self = Self { is_ok: true, epoch: None };

    /// Reads the answer to `CLUSTER INFO`.
    pub(crate) fn read(reply: &Reply<'_>) -> Self {
        let Some(info) = text(reply) else { return Self::UNKNOWN };
        let epoch = value(&info, "cluster_current_epoch").and_then(|epoch| epoch.parse().ok());
        Self { is_ok: value(&info, "cluster_state").is_none_or(|state| state == "ok"), epoch }
    }
}

impl Map {
    /// Reads the reply to `CLUSTER SLOTS`. A node that does not name its host has the host that was asked.
    pub(crate) fn read(reply: &Reply<'_>, asked: &str) -> Option<Self> {
        let Reply::Array(Some(entries)) = reply else { return None };
        let mut map = Self::default();
        let (mut seen, mut replicas) = (HashSet::new(), Vec::new());
        for entry in entries {
            let Reply::Array(Some(parts)) = entry else { return None };
            let [Reply::Int(first), Reply::Int(last), primary, others @ ..] = parts.as_slice() else {
                return None;
            };
            // A node without an address serves no client.
            let Some(primary) = Node::of_slots(primary, asked) else { continue };
            let slot = |slot: i64| u16::try_from(slot).ok().filter(|slot| *slot < SLOTS);
            if seen.insert(primary.clone()) {
                map.nodes.push(primary.clone());
            }
            map.ranges.push(Range { first: slot(*first)?, last: slot(*last)?, primary });
            replicas.extend(others.iter().filter_map(|other| Node::of_slots(other, asked)));
        }
        map.nodes.extend(replicas.into_iter().filter(|replica| seen.insert(replica.clone())));
        map.ranges.sort_by_key(|range| range.first);
        Some(map)
    }

    /// Whether every slot has a node.
    fn is_whole(&self) -> bool {
        let mut next = 0;
        for range in &self.ranges {
            if range.first != next {
                return false;
            }
            next = range.last + 1;
        }
        next == SLOTS
    }

    /// All nodes, in the order to ask them.
    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Moves this node to the front, if the map has it.
    pub(super) fn prefer(&mut self, node: &Node) {
        if let Some(at) = self.nodes.iter().position(|other| other == node) {
            self.nodes.swap(0, at);
        }
    }

    /// Whether both maps have the same primaries for all slots.
    pub(super) fn serves_as(&self, other: &Self) -> bool {
        self.ranges == other.ranges
    }

    pub(super) fn primary(&self, slot: u16) -> Option<&Node> {
        let after = self.ranges.partition_point(|range| range.first <= slot);
        let range = self.ranges.get(after.checked_sub(1)?)?;
        (slot <= range.last).then_some(&range.primary)
    }
}

impl Node {
    /// Reads `host:port`. The host may be an IPv6 address.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let is_named = !host.is_empty() && host != "?";
        is_named.then_some(Self { host: host.to_owned(), port: port.parse().ok()? })
    }

    /// Reads a node in `CLUSTER SLOTS`: host, port, id, and more in later versions.
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::redis::reply::parse;

    pub(crate) fn node(port: u16) -> Node {
        Node { host: "127.0.0.1".to_owned(), port }
    }

    /// Makes a map of slot ranges, each with the port of its primary.
    pub(crate) fn map(ranges: &[(u16, u16, u16)]) -> Map {
        let mut text = format!("*{}\r\n", ranges.len());
        for (first, last, port) in ranges {
            text += &format!("*3\r\n:{first}\r\n:{last}\r\n{}", encoded("127.0.0.1", *port));
        }
        read(&text).unwrap()
    }

    /// A node in `CLUSTER SLOTS` of Redis 7.
    fn encoded(host: &str, port: u16) -> String {
        format!("*4\r\n${}\r\n{host}\r\n:{port}\r\n$2\r\nid\r\n*0\r\n", host.len())
    }

    fn read(text: &str) -> Option<Map> {
        let (reply, used) = parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!(used, text.len());
        Map::read(&reply, "asked")
    }

    fn of_all_slots(host: &str, port: u16) -> Option<Map> {
        read(&format!("*1\r\n*3\r\n:0\r\n:16383\r\n{}", encoded(host, port)))
    }

    #[test]
    fn each_slot_has_the_primary_of_its_range() {
        let map = map(&[(8192, 16_383, 2), (0, 8191, 1)]);
        for (slot, port) in [(0, 1), (8191, 1), (8192, 2), (16_383, 2)] {
            assert_eq!(map.primary(slot), Some(&node(port)), "{slot}");
        }
        assert!(map.is_whole());
    }

    #[test]
    fn a_map_with_a_hole_is_not_whole() {
        for ranges in [&[][..], &[(0, 16_382, 1)], &[(1, 16_383, 1)], &[(0, 99, 1), (101, 16_383, 2)]] {
            assert!(!map(ranges).is_whole(), "{ranges:?}");
        }
        let map = map(&[(0, 99, 1), (101, 16_383, 2)]);
        assert_eq!((map.primary(100), map.primary(99)), (None, Some(&node(1))));
    }

    #[test]
    fn replicas_can_be_asked_as_well() {
        let (primary, replica) = (encoded("127.0.0.1", 1), encoded("127.0.0.1", 4));
        let map = read(&format!("*1\r\n*4\r\n:0\r\n:16383\r\n{primary}{replica}")).unwrap();
        assert_eq!(map.nodes(), [node(1), node(4)]);
        assert_eq!(map.primary(5), Some(&node(1)));
    }

    #[test]
    fn a_node_that_does_not_name_its_host_is_where_the_one_is_that_was_asked() {
        for host in ["", "?"] {
            let map = of_all_slots(host, 7000).unwrap();
            assert_eq!(map.primary(0), Some(&Node { host: "asked".to_owned(), port: 7000 }), "{host:?}");
        }
        let unknown = "*1\r\n*3\r\n:0\r\n:16383\r\n*4\r\n$-1\r\n:7000\r\n$2\r\nid\r\n*0\r\n";
        assert_eq!(read(unknown).unwrap().nodes()[0].host, "asked");
    }

    #[test]
    fn a_node_without_a_port_serves_nobody() {
        let map = of_all_slots("127.0.0.1", 0).unwrap();
        assert_eq!((map.primary(0), map.nodes().len(), map.is_whole()), (None, 0, false));
    }

    #[test]
    fn a_reply_that_is_not_a_map_is_none() {
        for text in ["+OK\r\n", "*1\r\n:1\r\n", "*1\r\n*2\r\n:0\r\n:1\r\n"] {
            assert_eq!(read(text), None, "{text}");
        }
        let beyond = format!("*1\r\n*3\r\n:0\r\n:16384\r\n{}", encoded("127.0.0.1", 1));
        assert_eq!(read(&beyond), None);
    }

    fn state(info: &str) -> State {
        State::read(&parse(format!("${}\r\n{info}\r\n", info.len()).as_bytes()).unwrap().unwrap().0)
    }

    #[test]
    fn a_node_says_how_it_finds_the_cluster() {
        let info = "cluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_current_epoch:7\r\n";
        assert_eq!(state(info), State { is_ok: true, epoch: Some(7) });
        assert!(!state("cluster_state:fail\r\n").is_ok);
        let refused = parse(b"-NOPERM this user has no permissions\r\n").unwrap().unwrap().0;
        assert_eq!(State::read(&refused), State::UNKNOWN);
    }

    #[test]
    fn a_node_that_is_cut_off_or_has_missed_a_failover_is_not_believed_where_others_know_better() {
        let view = |is_ok, epoch| View {
            by: Some(node(1)),
            map: map(&[(0, 16_383, 1)]),
            state: State { is_ok, epoch: Some(epoch) },
        };
        assert!(view(true, 7).is_sound(7) && view(true, 8).is_sound(7));
        assert!(!view(true, 6).is_sound(7) && !view(false, 7).is_sound(7));
        assert!(View { state: State::UNKNOWN, ..view(true, 0) }.is_sound(7));
        assert!(view(true, 7).is_better_than(&view(false, 7), 7));
        assert!(view(true, 7).is_better_than(&view(true, 6), 7));
        assert!(view(true, 6).is_better_than(&view(false, 6), 7));
        assert!(!view(true, 7).is_better_than(&view(true, 7), 7), "the first one counts");
        let in_part = View { map: map(&[(0, 7, 1)]), ..view(true, 7) };
        assert!(!in_part.is_sound(7) && view(true, 7).is_better_than(&in_part, 7));
    }

    #[test]
    fn an_address_of_ipv6_is_shown_in_brackets() {
        let node = of_all_slots("::1", 7000).unwrap().nodes()[0].clone();
        assert_eq!((node.to_string(), Node::read("::1:7000")), ("[::1]:7000".to_owned(), Some(node)));
    }
}
