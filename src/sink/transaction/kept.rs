//! Commits that were confirmed, and that no replica is known to have.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::tally::Tally;
use crate::buffer::Reservation;
use crate::redis::resp::command;
use crate::sink::target::Keep;

/// The last commits of a lane, to be made again where a node that was promoted lacks them, and the count of all of them.
/// Redis replicates after it has confirmed; the output and the lane's number go there together, so the number tells what
/// is missing.
#[derive(Debug, Default)]
pub(in crate::sink) struct Kept {
    /// By number.
    commits: VecDeque<Commit>,
    /// Of these, and of those that are kept no more.
    tally: Tally,
    /// What the server's replication had come to after a commit.
    marks: VecDeque<Mark>,
    /// When it was asked for the last time.
    asked: Option<Instant>,
    /// The most replicas that the server has had lately: one that is away now may come back, and take its place. `None`
    /// until it was asked.
    replicas: Option<usize>,
    /// Since when it has had fewer.
    fewer: Option<Instant>,
    /// Memory of commits that are kept no more.
    spare: Vec<Vec<u8>>,
}

/// A commit that was made.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) number: u64,
    pub(super) messages: u64,
    /// How many answers it had.
    pub(super) answers: usize,
    at: Instant,
    /// Whether it was sent once more, and not answered yet.
    pub(super) again: bool,
    pub(super) commands: Vec<u8>,
    /// The memory that they take.
    _reservation: Reservation,
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

impl Kept {
    /// No more answers of the server are remembered: those of some minutes.
    const MOST_MARKS: usize = 1 << 10;
    /// A replica that is away for so long was taken away.
    const COME_BACK: Duration = Duration::from_secs(300);
    /// How often the server is asked. Replicas tell it once a second how far they are.
    const ASK_EVERY: Duration = Duration::from_millis(250);

    /// Counts a commit that was confirmed.
    pub(super) fn count(&mut self, number: u64, messages: u64) {
        self.tally.push(number, messages);
    }

    /// Keeps it.
    pub(super) fn push(
        &mut self,
        number: u64,
        messages: u64,
        answers: usize,
        commands: Vec<u8>,
        keep: &Keep,
    ) {
        let commands = self.fitted(commands);
        self.age(keep);
        loop {
            match keep.memory.try_reserve(commands.capacity()) {
                Some(reservation) => {
                    let at = Instant::now();
                    let commit = Commit {
                        number,
                        messages,
                        answers,
                        at,
                        again: false,
                        commands,
                        _reservation: reservation,
                    };
                    return self.commits.push_back(commit);
                }
                None if self.forget_oldest() => {}
                // Not even the memory of this one is there.
                None => return self.recycle(commands),
            }
        }
    }

    /// Keeps what is too old no more.
    pub(super) fn age(&mut self, keep: &Keep) {
        while self.commits.front().is_some_and(|oldest| oldest.at.elapsed() > keep.time) {
            self.forget_oldest();
        }
    }

    /// Whether there are commits that can be made again.
    pub(in crate::sink) fn is_keeping(&self) -> bool {
        !self.commits.is_empty()
    }

    /// Whether there are commits that replicas may lack.
    pub(in crate::sink) fn is_open(&self) -> bool {
        self.tally.is_open()
    }

    /// Whether the server is known to have no replica, nor had any lately.
    pub(in crate::sink) fn is_alone(&self) -> bool {
        self.replicas == Some(0)
    }

    /// Whether replicas are known to have had some of the lane's commits.
    pub(super) fn was_replicated(&self) -> bool {
        self.tally.was_replicated()
    }

    /// How many messages are in the commits that replicas may lack.
    pub(in crate::sink) fn open(&self) -> u64 {
        self.tally.open()
    }

    /// The commands without memory that they do not need: a lone record may have been written where many had been.
    fn fitted(&mut self, commands: Vec<u8>) -> Vec<u8> {
        if commands.capacity() <= 2 * commands.len() {
            return commands;
        }
        let fitted = commands.as_slice().to_vec();
        self.recycle(commands);
        fitted
    }

    /// Whether there was one.
    fn forget_oldest(&mut self) -> bool {
        let oldest = self.commits.pop_front();
        oldest.map(|oldest| self.recycle(oldest.commands)).is_some()
    }

    /// Memory for the next commit.
    pub(super) fn memory(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Adds the question how far the replicas are, if it is time to ask; whether it was.
    pub(super) fn ask(&mut self, out: &mut Vec<u8>) -> bool {
        let due = self.asked.is_none_or(|asked| asked.elapsed() >= Self::ASK_EVERY);
        if due {
            self.ask_now(out);
        }
        due
    }

    /// Adds the question in any case.
    pub(super) fn ask_now(&mut self, out: &mut Vec<u8>) {
        self.asked = Some(Instant::now());
        command(out, &[b"INFO", b"replication"]);
    }

    /// Takes the answer: it was given after the commit of this number.
    pub(super) fn answered(&mut self, number: u64, replication: Replication) {
        let Replication { offset, replicas, confirmed, .. } = replication;
        let missing = self.replicas.is_some_and(|most| replicas < most);
        let fewer = *self.fewer.get_or_insert_with(Instant::now);
        if !missing || fewer.elapsed() >= Self::COME_BACK {
            (self.replicas, self.fewer) = (Some(replicas), None);
        }
        if self.marks.len() == Self::MOST_MARKS {
            self.marks.pop_front();
        }
        self.marks.push_back(Mark { number, offset });
        if replicas == 0 || self.fewer.is_some() {
            return;
        }
        let mut replicated = 0;
        while self.marks.front().is_some_and(|mark| mark.offset <= confirmed) {
            replicated = self.marks.pop_front().map_or(replicated, |mark| mark.number);
        }
        self.tally.replicated(replicated);
        while self.commits.front().is_some_and(|commit| commit.number <= replicated) {
            self.forget_oldest();
        }
    }

    /// The first commit after this number that can be made again.
    pub(super) fn after(&mut self, made: u64) -> Option<&mut Commit> {
        let from = self.commits.partition_point(|commit| commit.number <= made);
        self.commits.get_mut(from)
    }

    /// Takes the count of messages out that are in the commits after `made`, up to `until`: nobody has them any more.
    pub(super) fn lost(&mut self, made: u64, until: u64) -> u64 {
        self.tally.take(made, until)
    }

    /// How many messages were in the commits up to this number that were sent again: it was made, though nobody has said so.
    pub(super) fn made_again(&mut self, made: u64) -> u64 {
        let made = self.commits.iter_mut().take_while(|commit| commit.number <= made);
        made.map(|commit| if std::mem::take(&mut commit.again) { commit.messages } else { 0 }).sum()
    }

    /// Knows of no commit any more.
    pub(super) fn forget(&mut self) {
        while self.forget_oldest() {}
        self.tally = Tally::default();
        self.marks.clear();
    }

    /// Those that are kept were made again just now.
    pub(super) fn repeated(&mut self) {
        for commit in &mut self.commits {
            commit.at = Instant::now();
        }
    }

    /// Forgets what was said before this connection, and how many replicas `another` server had.
    pub(super) fn elsewhere(&mut self, another: bool) {
        self.marks.clear();
        self.asked = None;
        if another {
            (self.replicas, self.fewer) = (None, None);
        }
    }

    fn recycle(&mut self, mut memory: Vec<u8>) {
        const MOST: usize = 4;
        if self.spare.len() < MOST && memory.capacity() > 0 {
            memory.clear();
            self.spare.push(memory);
        }
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
mod tests {
    use super::*;
    use crate::buffer::Buffer;

    const LONG: Duration = Duration::from_secs(5);

    fn of(offset: u64, replicas: usize, confirmed: u64) -> Replication {
        Replication { offset, replicas, confirmed, is_primary: true }
    }

    fn keep(bytes: usize) -> Keep {
        Keep { time: LONG, memory: Buffer::new(bytes) }
    }

    fn push(kept: &mut Kept, number: u64, keep: &Keep) {
        kept.count(number, 10);
        kept.push(number, 10, 12, vec![0; 100], keep);
    }

    fn kept(numbers: std::ops::RangeInclusive<u64>, keep: &Keep) -> Kept {
        let mut kept = Kept::default();
        for number in numbers {
            push(&mut kept, number, keep);
        }
        kept
    }

    fn next(kept: &mut Kept, made: u64) -> Option<u64> {
        kept.after(made).map(|commit| commit.number)
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
    async fn what_all_replicas_have_is_kept_no_more() {
        let keep = keep(1000);
        let mut kept = kept(1..=3, &keep);
        kept.answered(3, of(500, 1, 400));
        assert_eq!(next(&mut kept, 0), Some(1));
        push(&mut kept, 4, &keep);
        kept.answered(4, of(600, 1, 500));
        assert_eq!(next(&mut kept, 0), Some(4));
        assert_eq!(keep.memory.used(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_that_is_away_may_lack_what_the_others_have() {
        let keep = keep(1000);
        let mut kept = kept(1..=3, &keep);
        kept.answered(2, of(500, 2, 400));
        kept.answered(3, of(600, 1, 600));
        assert_eq!(next(&mut kept, 0), Some(1));
        kept.answered(3, of(600, 2, 500));
        assert_eq!(next(&mut kept, 0), Some(3));
        kept.elsewhere(true);
        kept.answered(3, of(700, 1, 700));
        assert_eq!(next(&mut kept, 0), None, "the server that was promoted has one");
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_that_does_not_come_back_is_waited_for_no_more() {
        let keep = keep(1000);
        let mut kept = kept(1..=3, &keep);
        assert!(!kept.is_alone(), "nobody has been asked");
        kept.answered(1, of(500, 2, 0));
        kept.answered(2, of(600, 1, 600));
        assert_eq!(next(&mut kept, 0), Some(1));
        tokio::time::advance(Kept::COME_BACK).await;
        kept.answered(3, of(700, 1, 700));
        assert_eq!(next(&mut kept, 0), None);
        kept.answered(3, of(700, 0, 0));
        assert!(!kept.is_alone());
        tokio::time::advance(Kept::COME_BACK).await;
        kept.answered(3, of(700, 0, 0));
        assert!(kept.is_alone());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_old_is_counted() {
        let keep = keep(1000);
        let mut kept = kept(1..=3, &keep);
        tokio::time::advance(LONG * 2).await;
        push(&mut kept, 4, &keep);
        assert_eq!(next(&mut kept, 1), Some(4));
        assert_eq!((kept.lost(1, 3), kept.lost(1, 3)), (20, 0), "once");
        kept.answered(4, of(1, 1, 1));
        assert_eq!((kept.is_keeping(), kept.is_open(), keep.memory.used()), (false, false, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_repetition_without_an_answer_counts_once_it_is_known_to_be_made() {
        let keep = keep(1000);
        let mut kept = kept(1..=3, &keep);
        kept.after(1).unwrap().again = true;
        assert_eq!(kept.made_again(1), 0);
        assert_eq!(kept.made_again(2), 10);
        assert_eq!(kept.made_again(3), 0, "once");
    }

    #[tokio::test(start_paused = true)]
    async fn the_memory_is_bounded_for_all_lanes_together() {
        let keep = keep(1000);
        let mut one = kept(1..=8, &keep);
        let mut other = kept(1..=4, &keep);
        assert_eq!(next(&mut one, 0), Some(1));
        assert_eq!(next(&mut other, 0), Some(3), "its own oldest ones make room");
        assert_eq!(keep.memory.used(), 1000);
        push(&mut one, 9, &keep);
        assert_eq!(next(&mut one, 0), Some(2));
        let mut memory = Vec::with_capacity(10_000);
        memory.extend([0; 100]);
        one.push(10, 10, 12, memory, &keep);
        assert_eq!(keep.memory.used(), 1000, "no more than it needs");
        let mut third = kept(1..=1, &keep);
        assert_eq!(
            (next(&mut third, 0), third.lost(0, 1)),
            (None, 10),
            "counted, where there is no room at all"
        );
    }
}
