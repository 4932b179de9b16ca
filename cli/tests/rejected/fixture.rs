//! A server with rejected messages, and what a group left there.

use std::collections::{BTreeMap, HashSet};

use crate::support::redis::Redis;
use crate::support::{Running, Said, program, run};

pub(crate) const OUTPUT: &str = "messages:processed";
pub(crate) const REJECTED: &str = "messages:rejected";

pub(crate) type Entries = Vec<(String, BTreeMap<String, String>)>;

impl Redis {
    /// Appends what a group writes about a rejected message. Returns its id.
    pub(crate) fn reject(&mut self, payload: &str, error: &str) -> String {
        let by_group = ["consumer_id", "c", "source", "messages:published", "attempts", "5"];
        self.ask(&[&["XADD", REJECTED, "*", "payload", payload, "error", error][..], &by_group].concat())
    }

    /// Appends this many at once. Every seventh is not JSON, and is rejected at every attempt.
    pub(crate) fn reject_many(&mut self, messages: usize) {
        for chunk in (0..messages).collect::<Vec<_>>().chunks(1000) {
            let mut pipeline = redis::pipe();
            for n in chunk {
                let payload = if n % 7 == 0 { format!("bad {n}") } else { format!("{{\"n\":\"{n}\"}}") };
                let add = pipeline.cmd("XADD").arg(REJECTED).arg("*").arg("payload").arg(payload);
                add.arg(&["error", "gone", "consumer_id", "c", "source", "messages:published"]).ignore();
            }
            pipeline.exec(&mut self.connection).unwrap();
        }
    }

    /// Runs `rejected` to its end.
    pub(crate) fn rejected(&self, args: &[&str]) -> Said {
        run(program(&[&["rejected"], args].concat()).env("RCG_URL", self.server.url()))
    }

    pub(crate) fn replay(&self, args: &[&str]) -> Running {
        Running::start(program(&[&["rejected", "replay"], args].concat()).env("RCG_URL", self.server.url()))
    }

    pub(crate) fn entries(&mut self, stream: &str) -> Entries {
        self.ask(&["XRANGE", stream, "-", "+"])
    }

    pub(crate) fn length(&mut self, stream: &str) -> usize {
        self.ask(&["XLEN", stream])
    }

    pub(crate) fn keys(&mut self) -> HashSet<String> {
        self.ask(&["KEYS", "*"])
    }
}

pub(crate) fn values(entries: &Entries, field: &str) -> Vec<String> {
    entries.iter().filter_map(|(_, fields)| fields.get(field).cloned()).collect()
}

pub(crate) fn ledger(end: &Said) -> &str {
    assert_eq!(end.code, 0, "{}", end.stderr);
    end.stdout.lines().last().unwrap()
}

/// Checks that each message is in one of the two streams, once. Returns the numbers in the output and in the rejected
/// ones.
pub(crate) fn each_is_there_once(redis: &mut Redis, messages: usize) -> (usize, usize) {
    let processed = values(&redis.entries(OUTPUT), "n");
    let rejected = values(&redis.entries(REJECTED), "payload");
    let number = |text: &String| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let all: Vec<_> = processed.iter().chain(&rejected).map(number).collect();
    let distinct: HashSet<_> = all.iter().collect();
    assert_eq!((all.len(), distinct.len()), (messages, messages));
    (processed.len(), rejected.len())
}
