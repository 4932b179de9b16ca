//! Commits that were confirmed, and that no replica is known to have.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::buffer::Reservation;
use crate::redis::resp::command;
use crate::sink::target::Keep;

/// The last commits of a lane, to be made again where a node that was promoted lacks them. Redis replicates after it
/// has confirmed; the output and the lane's number go there together, so the number tells what is missing.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// By number. Those at the front may have lost their commands, and only count.
    commits: VecDeque<Commit>,
    /// How many at the front have.
    bare: usize,
    /// What the server's replication had come to after a commit.
    marks: VecDeque<Mark>,
    /// When it was asked for the last time.
    asked: Option<Instant>,
    /// Whether the server had no replica then.
    alone: bool,
    /// Whether replicas ever had one of the commits.
    replicated: bool,
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
    /// The memory that they take; none where they are gone.
    reservation: Option<Reservation>,
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
    /// How far all of its replicas have confirmed it; `None` when there is none.
    confirmed: Option<u64>,
    /// Whether it is no replica itself.
    pub(super) is_primary: bool,
}

impl Kept {
    /// So many are counted after their commands are gone.
    const MOST_BARE: usize = 1 << 12;
    /// No more answers of the server are remembered: those of some minutes.
    const MOST_MARKS: usize = 1 << 10;
    /// How often the server is asked. Replicas tell it once a second how far they are.
    const ASK_EVERY: Duration = Duration::from_millis(250);

    /// Keeps a commit that was confirmed.
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
        let reservation = loop {
            match keep.memory.try_reserve(commands.capacity()) {
                None if self.strip() => {}
                reservation => break reservation,
            }
        };
        let commit =
            Commit { number, messages, answers, at: Instant::now(), again: false, commands, reservation };
        self.commits.push_back(commit);
        if self.commits.back().is_some_and(|commit| commit.reservation.is_none()) {
            // Not even the memory of this one is there.
            self.strip();
        }
        while self.bare > Self::MOST_BARE {
            self.commits.pop_front();
            self.bare -= 1;
        }
    }

    /// Keeps what is too old no more.
    pub(super) fn age(&mut self, keep: &Keep) {
        while self.commits.get(self.bare).is_some_and(|oldest| oldest.at.elapsed() > keep.time) {
            self.strip();
        }
    }

    /// Whether there are commits that can be made again.
    pub(super) fn is_keeping(&self) -> bool {
        self.commits.len() > self.bare
    }

    /// Whether the server had no replica when it was asked last.
    pub(super) fn is_alone(&self) -> bool {
        self.alone
    }

    /// Whether replicas are known to have had some of the lane's commits.
    pub(super) fn was_replicated(&self) -> bool {
        self.replicated
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

    /// Takes the commands from the oldest commit that has any; whether there was one.
    fn strip(&mut self) -> bool {
        let Some(oldest) = self.commits.get_mut(self.bare) else { return false };
        let commands = std::mem::take(&mut oldest.commands);
        oldest.reservation = None;
        self.bare += 1;
        self.recycle(commands);
        true
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
        self.alone = replication.confirmed.is_none();
        let Some(confirmed) = replication.confirmed else { return self.marks.clear() };
        if self.marks.len() == Self::MOST_MARKS {
            self.marks.pop_front();
        }
        self.marks.push_back(Mark { number, offset: replication.offset });
        let mut replicated = 0;
        while self.marks.front().is_some_and(|mark| mark.offset <= confirmed) {
            replicated = self.marks.pop_front().map_or(replicated, |mark| mark.number);
        }
        while self.commits.front().is_some_and(|commit| commit.number <= replicated) {
            let Some(commit) = self.commits.pop_front() else { break };
            self.replicated = true;
            self.bare = self.bare.saturating_sub(1);
            self.recycle(commit.commands);
        }
    }

    /// The first commit after this number that can be made again; and how many messages were in those between, which
    /// cannot. Those are told once.
    pub(super) fn after(&mut self, made: u64) -> (u64, Option<&mut Commit>) {
        let from = self.commits.partition_point(|commit| commit.number <= made);
        let mut gone = 0;
        while from < self.bare {
            gone += self.commits.remove(from).map_or(0, |commit| commit.messages);
            self.bare -= 1;
        }
        (gone, self.commits.get_mut(from))
    }

    /// How many messages were in the commits up to this number that were sent again: it was made, though nobody has said so.
    pub(super) fn made_again(&mut self, made: u64) -> u64 {
        let made = self.commits.iter_mut().take_while(|commit| commit.number <= made);
        made.map(|commit| if std::mem::take(&mut commit.again) { commit.messages } else { 0 }).sum()
    }

    /// Those that are kept were made again just now.
    pub(super) fn repeated(&mut self) {
        for commit in self.commits.iter_mut().skip(self.bare) {
            commit.at = Instant::now();
        }
    }

    /// Forgets what was said of other servers.
    pub(super) fn elsewhere(&mut self) {
        self.marks.clear();
        self.asked = None;
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
        let is_primary = value("role")?.trim() == "master";
        Some(Self { offset, confirmed: info.lines().filter_map(of_replica).min(), is_primary })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Buffer;

    const LONG: Duration = Duration::from_secs(5);

    fn of(offset: u64, confirmed: u64) -> Replication {
        Replication { offset, confirmed: Some(confirmed), is_primary: true }
    }

    fn keep(bytes: usize) -> Keep {
        Keep { time: LONG, memory: Buffer::new(bytes) }
    }

    fn push(kept: &mut Kept, number: u64, keep: &Keep) {
        kept.push(number, 10, 12, vec![0; 100], keep);
    }

    fn kept(numbers: std::ops::RangeInclusive<u64>, keep: &Keep) -> Kept {
        let mut kept = Kept::default();
        for number in numbers {
            push(&mut kept, number, keep);
        }
        kept
    }

    fn next(kept: &mut Kept, made: u64) -> (u64, Option<u64>) {
        let (gone, commit) = kept.after(made);
        (gone, commit.map(|commit| commit.number))
    }

    #[test]
    fn the_figures_of_a_primary_are_read() {
        let info = "# Replication\r\nrole:master\r\nconnected_slaves:2\r\n\
                    slave0:ip=127.0.0.1,port=6380,state=online,offset=900,lag=1\r\n\
                    slave1:ip=127.0.0.1,port=6381,state=online,offset=700,lag=0\r\n\
                    master_replid:abc\r\nmaster_repl_offset:1000\r\n";
        assert_eq!(
            Replication::read(info),
            Some(Replication { offset: 1000, confirmed: Some(700), is_primary: true })
        );
        let alone = "role:master\r\nconnected_slaves:0\r\nmaster_repl_offset:5\r\n";
        assert_eq!(
            Replication::read(alone),
            Some(Replication { offset: 5, confirmed: None, is_primary: true })
        );
        assert_eq!(Replication::read("ERR"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_replica_has_is_kept_no_more() {
        let keep = keep(1000);
        let mut kept = kept(1..=3, &keep);
        kept.answered(3, of(500, 400));
        assert_eq!(next(&mut kept, 0), (0, Some(1)));
        push(&mut kept, 4, &keep);
        kept.answered(4, of(600, 500));
        assert_eq!(next(&mut kept, 0), (0, Some(4)));
        assert_eq!(keep.memory.used(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_old_is_counted() {
        let keep = keep(1000);
        let mut kept = kept(1..=3, &keep);
        tokio::time::advance(LONG * 2).await;
        push(&mut kept, 4, &keep);
        assert_eq!(next(&mut kept, 1), (20, Some(4)));
        assert_eq!(next(&mut kept, 4), (0, None));
        kept.answered(4, of(1, 1));
        assert_eq!((kept.commits.len(), kept.bare, keep.memory.used()), (0, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_repetition_without_an_answer_counts_once_it_is_known_to_be_made() {
        let keep = keep(1000);
        let mut kept = kept(1..=3, &keep);
        kept.after(1).1.unwrap().again = true;
        assert_eq!(kept.made_again(1), 0);
        assert_eq!(kept.made_again(2), 10);
        assert_eq!(kept.made_again(3), 0, "once");
    }

    #[tokio::test(start_paused = true)]
    async fn the_memory_is_bounded_for_all_lanes_together() {
        let keep = keep(1000);
        let mut one = kept(1..=8, &keep);
        let mut other = kept(1..=4, &keep);
        assert_eq!(next(&mut one, 0), (0, Some(1)));
        assert_eq!(next(&mut other, 0), (20, Some(3)), "its own oldest ones make room");
        assert_eq!(keep.memory.used(), 1000);
        push(&mut one, 9, &keep);
        assert_eq!(next(&mut one, 0), (10, Some(2)));
        let mut memory = Vec::with_capacity(10_000);
        memory.extend([0; 100]);
        one.push(10, 10, 12, memory, &keep);
        assert_eq!(keep.memory.used(), 1000, "no more than it needs");
        let mut third = kept(1..=1, &keep);
        assert_eq!(next(&mut third, 0), (10, None), "counted, where there is no room at all");
    }
}
