//! How far the replicas of a server are.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::redis::resp::command;

/// What is known of the replicas of the server that a lane is connected to.
#[derive(Debug, Default)]
pub(super) struct Replicas {
    /// What the server's replication had come to after a commit.
    marks: VecDeque<Mark>,
    /// When it was asked for the last time.
    asked: Option<Instant>,
    /// The most replicas that it has had lately: one that is away now may come back, and take its place. `None` until it
    /// was asked.
    most: Option<usize>,
    /// Since when it has had fewer.
    fewer: Option<Instant>,
}

#[derive(Debug)]
struct Mark {
    number: u64,
    offset: u64,
}

/// What a server says of its replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Replication {
    /// How far its own data has come.
    offset: u64,
    /// How many replicas are connected and up to date.
    replicas: usize,
    /// How far all of them have confirmed it.
    confirmed: u64,
    /// Whether it is no replica itself.
    pub(super) is_primary: bool,
}

impl Replicas {
    /// No more answers of the server are remembered: those of some minutes.
    const MOST_MARKS: usize = 1 << 10;
    /// A replica that is away for so long was taken away.
    const COME_BACK: Duration = Duration::from_secs(300);
    /// How often the server is asked. Replicas tell it once a second how far they are.
    const ASK_EVERY: Duration = Duration::from_millis(250);

    /// Whether the server is known to have none, nor to have had any lately.
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

    /// Takes the answer, which was given after the commit of this number. Up to which commit all replicas have everything,
    /// where that says more than the answers before.
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

    /// Forgets how far they were: the next answer comes from another connection.
    pub(super) fn forget(&mut self) {
        self.marks.clear();
        self.asked = None;
    }
}

impl Replication {
    /// Reads the answer to `INFO replication`.
    pub(super) fn read(info: &str) -> Option<Self> {
        let value = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let offset = value("master_repl_offset")?.trim().parse().ok()?;
        let of_replica = |line: &str| {
            let (name, fields) = line.split_once(':')?;
            name.strip_prefix("slave")?.parse::<u32>().ok()?;
            // One that is fetching everything comes up to date by itself, or never counts.
            fields.split(',').find(|field| *field == "state=online")?;
            fields.trim().split(',').find_map(|field| field.strip_prefix("offset="))?.parse::<u64>().ok()
        };
        let replicas = || info.lines().filter_map(of_replica);
        let is_primary = value("role")?.trim() == "master";
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
