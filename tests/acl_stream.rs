//! The ACL rules of docs/permissions.md for a stream, a spill and a replay are sufficient, and each of their words is
//! necessary.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use std::time::Duration;

use redis_consumer_group::{
    Builder, ConsumerGroup, Failure, Ledger, Message, Overflow, Processor, Record, Replay, SourceKind, Trim,
};
use support::acl::{grant, refusals, rule};
use support::{INPUT, LIMIT, OUTPUT, REJECTED, Server, eventually};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

const SPILL: &str = "{messages:processed}:spill";
const LEASE: Duration = Duration::from_secs(1);
/// The fields that a group adds to a rejected message.
const BY_US: &str = " error e consumer_id c source messages:published attempts 1";

/// The feature that a rule is for.
#[derive(Debug, Clone, Copy)]
enum Use {
    Stream,
    Spill,
    Replay,
}

impl Use {
    /// The words that its section of docs/permissions.md adds.
    fn added(self) -> Vec<&'static str> {
        match self {
            Self::Stream => rule("acl stream"),
            Self::Spill => rule("acl spill"),
            Self::Replay => rule("acl replay"),
        }
    }

    /// The complete rule.
    fn rule(self) -> Vec<&'static str> {
        let mut words = rule("acl");
        if let Self::Stream | Self::Replay = self {
            words.retain(|word| {
                !["&messages:published", "+subscribe", "+unsubscribe", "+ping"].contains(word)
            });
        }
        words.extend(self.added());
        words
    }

    /// The stream that the group reads, its group, and the prefix of its leases and tokens.
    fn keys(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Stream => (INPUT, "processors", "{messages:published}:"),
            Self::Spill => (SPILL, "processors", "{messages:processed}:spill::"),
            Self::Replay => (REJECTED, "redis-consumer-group:replay", "{messages:rejected}:"),
        }
    }

    /// Runs a group with this user to its end: it takes over from a dead process, retries, appends and rejects. Returns
    /// its ledger, or why it ended early.
    async fn live(self, server: &Server) -> Result<Ledger, String> {
        self.leave_behind(server).await;
        let url = format!("redis://group:password@{}", server.addr());
        let group = ConsumerGroup::builder(url).lease(LEASE).drain_timeout(LEASE);
        match self {
            Self::Stream => {
                for n in 0..100 {
                    server.run::<()>(&format!("XADD {INPUT} * message_id {n}")).await;
                }
                server.run::<()>(&format!("XADD {INPUT} * payload reject")).await;
                let group = group.source(SourceKind::Stream).trim(Trim::Acknowledged);
                let group = with_a_processor(group).start().await.map_err(|error| error.to_string())?;
                self.until_nothing_is_left(server, group, async || server.length(INPUT).await == 0).await
            }
            Self::Spill => {
                let group = group.overflow(Overflow::Spill).buffer(64 << 10).max_payload(4096);
                let group = with_a_processor(group).start().await.map_err(|error| error.to_string())?;
                server.publish(2_000).await;
                let all = async || server.length(OUTPUT).await == 2_001;
                self.until_nothing_is_left(server, group, all).await
            }
            Self::Replay => {
                for n in 0..100 {
                    server.run::<()>(&format!("XADD {REJECTED} * message_id {n}{BY_US}")).await;
                }
                server.run::<()>(&format!("XADD {REJECTED} * payload reject{BY_US}")).await;
                let group = with_a_processor(group.replay(Replay::all()));
                let mut group = group.start().await.map_err(|error| error.to_string())?;
                timeout(LIMIT, group.join()).await.unwrap().map_err(|error| error.to_string())
            }
        }
    }

    /// Waits until `done` holds and the dead process is removed, then stops the group. Returns early if the group ends.
    async fn until_nothing_is_left(
        self,
        server: &Server,
        mut group: ConsumerGroup,
        mut done: impl AsyncFnMut() -> bool,
    ) -> Result<Ledger, String> {
        let (_, group_name, keys) = self.keys();
        let leases = format!("{keys}leases:{group_name}");
        tokio::select! {
            end = group.join() => return end.map_err(|error| error.to_string()),
            () = eventually(LIMIT, "nothing is left", async || {
                done().await && server.run::<usize>(&format!("ZCARD {leases}")).await == 1
            }) => {}
        }
        timeout(LIMIT, group.shutdown()).await.unwrap().map_err(|error| error.to_string())
    }

    /// Creates what a dead process leaves: an entry pending for it, its token, and an expired lease.
    async fn leave_behind(self, server: &Server) {
        let (stream, group, keys) = self.keys();
        let rejected = if let Self::Replay = self { BY_US } else { "" };
        let process = Uuid::new_v4();
        let consumer = format!("redis-consumer-group:{process}");
        for words in [
            format!("XADD {stream} * payload {{}}{rejected}"),
            format!("XGROUP CREATE {stream} {group} 0"),
            format!("XREADGROUP GROUP {group} {consumer} STREAMS {stream} >"),
            format!("SET {keys}token:{process} {process}"),
            format!("ZADD {keys}leases:{group} 1 {process}"),
        ] {
            server.run::<redis::Value>(&words).await;
        }
    }
}

/// The processor rejects `reject`, fails twice on the dead process's entry, and takes 1 ms for any other message.
fn with_a_processor<P: Processor>(group: Builder<P>) -> Builder<impl Processor + use<P>> {
    group.processor(|_, message: Message| async move {
        match (message.payload(), message.attempt()) {
            (b"reject", _) => Err(Failure::reject("as it asked for")),
            (b"{}", ..=2) => Err(Failure::try_again("not at once")),
            (payload, _) => {
                // Slow, so that the buffer fills up.
                sleep(Duration::from_millis(1)).await;
                Ok(Record::new().bytes("payload", payload))
            }
        }
    })
}

#[tokio::test]
async fn the_rule_for_a_stream_is_sufficient_from_start_to_stop() {
    let server = Server::start().await;
    grant(&server, &Use::Stream.rule()).await;
    let ledger = Use::Stream.live(&server).await.unwrap();
    assert_eq!((ledger.processed, ledger.rejected, ledger.taken_over), (101, 1, 1), "{ledger}");
    assert_eq!(refusals(&server).await, [""; 0]);
    assert_eq!((server.length(OUTPUT).await, server.length(REJECTED).await), (101, 1));
    assert_eq!(server.keys().await, [OUTPUT, INPUT, REJECTED].map(str::to_owned));
}

#[tokio::test]
async fn the_rule_for_a_spill_is_sufficient_from_start_to_stop() {
    let server = Server::start().await;
    grant(&server, &Use::Spill.rule()).await;
    let ledger = Use::Spill.live(&server).await.unwrap();
    assert!(ledger.spilled > 0 && ledger.read_back == ledger.spilled + 1, "{ledger:?}");
    assert_eq!(refusals(&server).await, [""; 0]);
    assert_eq!((server.length(OUTPUT).await, server.length(SPILL).await), (2_001, 0));
    assert_eq!(server.keys().await, [OUTPUT, SPILL].map(str::to_owned));
}

#[tokio::test]
async fn the_rule_for_a_replay_is_sufficient_from_start_to_stop() {
    let server = Server::start().await;
    grant(&server, &Use::Replay.rule()).await;
    let ledger = Use::Replay.live(&server).await.unwrap();
    assert_eq!((ledger.processed, ledger.rejected), (101, 1), "{ledger}");
    assert_eq!(refusals(&server).await, [""; 0]);
    assert_eq!((server.length(OUTPUT).await, server.length(REJECTED).await), (101, 1));
    assert_eq!(server.keys().await, [OUTPUT, REJECTED].map(str::to_owned));
    assert_eq!(server.run::<Vec<redis::Value>>(&format!("XINFO GROUPS {REJECTED}")).await, []);
}

/// Removes each word that the sections add in turn. Each word has its own server.
#[tokio::test(flavor = "local")]
async fn each_word_of_the_rules_is_necessary() {
    let mut lives = JoinSet::new();
    for usage in [Use::Stream, Use::Spill, Use::Replay] {
        for word in usage.added() {
            let rest: Vec<_> = usage.rule().into_iter().filter(|other| *other != word).collect();
            lives.spawn_local(async move {
                let server = Server::start().await;
                grant(&server, &rest).await;
                let Err(error) = usage.live(&server).await else { panic!("{usage:?} works without {word}") };
                let named = word.trim_start_matches('~').trim_end_matches(":*");
                assert!(error.contains(named), "{usage:?} without {word}: {error}");
            });
        }
    }
    timeout(Duration::from_secs(120), lives.join_all()).await.unwrap();
}
