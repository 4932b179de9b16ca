//! Tracks how much of a server's data its replicas have.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::redis::info::{text, value};
use crate::redis::reply::Reply;
use crate::redis::resp::command;

/// What a lane knows about the replicas of its server.
#[derive(Debug, Default)]
pub(super) struct Replicas {
    /// The server's replication offset after a commit.
    marks: VecDeque<Mark>,
    /// When the server was last asked.
    asked: Option<Instant>,
    /// The highest recent number of replicas: one that is away may come back and be promoted.
    /// `None` before the first answer.
    most: Option<usize>,
    /// Since when there are fewer.
    fewer: Option<Instant>,
}

#[derive(Debug)]
struct Mark {
    number: u64,
    offset: u64,
}

/// The answer to `INFO replication`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Replication {
    /// The server's own replication offset.
    offset: u64,
    /// The number of replicas that are connected and in sync.
    replicas: usize,
    /// The offset that all of them have confirmed.
    confirmed: u64,
    /// Whether the server is not a replica itself.
    pub(super) is_primary: bool,
}

impl Replicas {
    /// The limit of remembered offsets: those of some minutes.
    const MOST_MARKS: usize = 1 << 10;
    /// A replica that is away for longer was removed.
    const COME_BACK: Duration = Duration::from_secs(300);
    /// How often the server is asked. Replicas report their offset to it once a second.
    const ASK_EVERY: Duration = Duration::from_millis(250);

    /// Whether the server is known to have no replica, and had none recently.
    pub(super) fn are_none(&self) -> bool {
        self.most == Some(0)
    }

    /// Whether it is time to ask.
    pub(super) fn are_due(&self) -> bool {
        self.asked.is_none_or(|asked| asked.elapsed() >= Self::ASK_EVERY)
    }

    /// Adds the question.
    pub(super) fn ask(&mut self, out: &mut Vec<u8>) {
        self.asked = Some(Instant::now());
        command(out, &[b"INFO", b"replication"]);
    }

    /// Handles the answer, which the server gave after the commit of this number. Returns the last commit that all
    /// replicas have, if the answer shows more than the ones before.
    pub(super) fn answered(&mut self, number: u64, replication: Replication) -> Option<u64> {
        let Replication { offset, replicas, confirmed, .. } = replication;
        let is_missing = self.most.is_some_and(|most| replicas < most);
        let fewer = *self.fewer.get_or_insert_with(Instant::now);
        if !is_missing || fewer.elapsed() >= Self::COME_BACK {
            (self.most, self.fewer) = (Some(replicas), None);
        }
        if self.marks.len() == Self::MOST_MARKS {
            self.marks.pop_front();
        }
        self.marks.push_back(Mark { number, offset });
        if replicas == 0 || self.fewer.is_some() {
            return None;
        }
        let mut replicated = None;
        while self.marks.front().is_some_and(|mark| mark.offset <= confirmed) {
            replicated = self.marks.pop_front().map(|mark| mark.number);
        }
        replicated
    }

    /// Forgets the offsets: the next answer comes on another connection.
    pub(super) fn forget(&mut self) {
        self.marks.clear();
        self.asked = None;
    }
}

impl Replication {
    /// Reads the answer to `INFO replication`; `None` if the command is not permitted.
    pub(super) fn of(reply: &Reply<'_>) -> Option<Self> {
        Self::read(&text(reply)?)
    }

    fn read(info: &str) -> Option<Self> {
        let offset = value(info, "master_repl_offset")?.parse().ok()?;
        let of_replica = |line: &str| {
            let (name, fields) = line.split_once(':')?;
            name.strip_prefix("slave")?.parse::<u32>().ok()?;
            // A replica in its first full synchronization counts once it is online.
            fields.split(',').find(|field| *field == "state=online")?;
            fields.trim().split(',').find_map(|field| field.strip_prefix("offset="))?.parse::<u64>().ok()
        };
        let replicas = || info.lines().filter_map(of_replica);
        let is_primary = value(info, "role")? == "master";
        Some(Self {
            offset,
            replicas: replicas().count(),
            confirmed: replicas().min().unwrap_or(0),
            is_primary,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn of(offset: u64, replicas: usize, confirmed: u64) -> Replication {
        Replication { offset, replicas, confirmed, is_primary: true }
    }

    #[test]
    fn the_figures_of_a_primary_are_read() {
        let info = "# Replication\r\nrole:master\r\nconnected_slaves:2\r\n\
                    slave0:ip=127.0.0.1,port=6380,state=online,offset=900,lag=1\r\n\
                    slave1:ip=127.0.0.1,port=6381,state=online,offset=700,lag=0\r\n\
                    slave2:ip=127.0.0.1,port=6382,state=wait_bgsave,offset=0,lag=0\r\n\
                    master_replid:abc\r\nmaster_repl_offset:1000\r\n";
        assert_eq!(Replication::read(info), Some(of(1000, 2, 700)));
        let alone = "role:master\r\nconnected_slaves:0\r\nmaster_repl_offset:5\r\n";
        assert_eq!(Replication::read(alone), Some(of(5, 0, 0)));
        assert_eq!(Replication::read("ERR"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_is_replicated_once_all_replicas_have_what_was_there_after_it() {
        let mut replicas = Replicas::default();
        assert_eq!(replicas.answered(3, of(500, 1, 400)), None);
        assert_eq!(replicas.answered(4, of(600, 1, 500)), Some(3));
        assert_eq!(replicas.answered(4, of(600, 1, 600)), Some(4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_that_is_away_may_lack_what_the_others_have() {
        let mut replicas = Replicas::default();
        assert_eq!(replicas.answered(2, of(500, 2, 400)), None);
        assert_eq!(replicas.answered(3, of(600, 1, 600)), None);
        assert_eq!(replicas.answered(3, of(600, 2, 500)), Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_that_does_not_come_back_is_waited_for_no_more() {
        let mut replicas = Replicas::default();
        assert!(!replicas.are_none(), "nobody has been asked");
        replicas.answered(1, of(500, 2, 0));
        assert_eq!(replicas.answered(2, of(600, 1, 600)), None);
        tokio::time::advance(Replicas::COME_BACK).await;
        assert_eq!(replicas.answered(3, of(700, 1, 700)), Some(3));
        replicas.answered(3, of(700, 0, 0));
        assert!(!replicas.are_none());
        tokio::time::advance(Replicas::COME_BACK).await;
        replicas.answered(3, of(700, 0, 0));
        assert!(replicas.are_none());
    }
}
