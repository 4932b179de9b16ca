//! Keeps confirmed commits that replicas may lack.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::replicas::{Replicas, Replication};
use super::tally::Tally;
use crate::buffer::Reservation;
use crate::sink::Records;
use crate::sink::target::Keep;

/// The last commits of a lane, to be repeated if a promoted node lacks them, and the message counts of all its
/// commits. Redis replicates after it has confirmed. The output and the lane's number are replicated together, so the
/// number shows which commits are missing.
#[derive(Debug, Default)]
pub(in crate::sink) struct Kept {
    /// In the order of their numbers.
    commits: VecDeque<Commit>,
    /// Counts the commits that are not in `commits`.
    tally: Tally,
    replicas: Replicas,
    /// Memory of former commits, for new ones.
    spare: Vec<Vec<u8>>,
}

/// A confirmed commit.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) number: u64,
    pub(super) messages: u64,
    /// The number of its answers before the one to `HSET`.
    pub(super) answers: usize,
    at: Instant,
    /// Whether it was sent again and is not answered yet.
    pub(super) again: bool,
    pub(super) commands: Vec<u8>,
    /// The memory of `commands`, reserved until the commit is dropped.
    _reservation: Reservation,
}

impl Kept {
    /// Counts a confirmed commit that is not kept.
    pub(super) fn count(&mut self, number: u64, messages: u64) {
        self.tally.push(number, messages);
    }

    /// Keeps a confirmed commit. If the memory is short, the lane's oldest commits make room.
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
                // There is no memory for this one, even without the others.
                None => {
                    self.count(number, messages);
                    return self.recycle(commands);
                }
            }
        }
    }

    /// Drops commits that are older than the limit.
    pub(super) fn age(&mut self, keep: &Keep) {
        while self.commits.front().is_some_and(|oldest| oldest.at.elapsed() > keep.time) {
            self.forget_oldest();
        }
    }

    /// Whether there are commits that can be repeated.
    pub(in crate::sink) fn is_keeping(&self) -> bool {
        !self.commits.is_empty()
    }

    /// Whether there are commits that replicas may lack.
    pub(in crate::sink) fn is_open(&self) -> bool {
        self.is_keeping() || self.tally.is_open()
    }

    /// Whether the server is known to have no replica, and had none recently.
    pub(in crate::sink) fn is_alone(&self) -> bool {
        self.replicas.are_none()
    }

    /// Whether replicas are known to have had some of the lane's commits.
    pub(super) fn was_replicated(&self) -> bool {
        self.tally.was_replicated()
    }

    /// The number of messages in the commits that replicas may lack.
    pub(in crate::sink) fn open(&self) -> u64 {
        self.tally.open() + self.commits.iter().map(|commit| commit.messages).sum::<u64>()
    }

    /// Frees unused memory: a lone record may have been written where many had been.
    fn fitted(&mut self, commands: Vec<u8>) -> Vec<u8> {
        if commands.capacity() <= 2 * commands.len() {
            return commands;
        }
        let fitted = commands.as_slice().to_vec();
        self.recycle(commands);
        fitted
    }

    /// Drops the oldest commit, which is only counted from now on. `false` if there was none.
    fn forget_oldest(&mut self) -> bool {
        let Some(oldest) = self.commits.pop_front() else { return false };
        self.count(oldest.number, oldest.messages);
        self.recycle(oldest.commands);
        true
    }

    /// Memory for the next commit.
    pub(super) fn memory(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Adds the question about the replicas, if one is due. Returns whether it was.
    pub(super) fn ask(&mut self, out: &mut Vec<u8>) -> bool {
        let due = self.replicas.are_due();
        if due {
            self.ask_now(out);
        }
        due
    }

    /// Adds the question, due or not.
    pub(super) fn ask_now(&mut self, out: &mut Vec<u8>) {
        self.replicas.ask(out);
    }

    /// Handles the answer, which the server gave after the commit of this number.
    pub(super) fn answered(&mut self, number: u64, replication: Replication) {
        let Some(replicated) = self.replicas.answered(number, replication) else { return };
        while self.commits.front().is_some_and(|commit| commit.number <= replicated) {
            self.forget_oldest();
        }
        self.tally.replicated(replicated);
    }

    /// The first commit after this number that can be repeated.
    pub(super) fn after(&mut self, made: u64) -> Option<&mut Commit> {
        let from = self.commits.partition_point(|commit| commit.number <= made);
        self.commits.get_mut(from)
    }

    /// Returns the number of messages in the commits after this number that are no longer
    /// kept, and stops counting them.
    pub(super) fn lost(&mut self, made: u64) -> u64 {
        self.tally.take_after(made)
    }

    /// The number of messages in repeated commits up to this number: they happened, though their answer was lost.
    pub(super) fn made_again(&mut self, made: u64) -> u64 {
        let made = self.commits.iter_mut().take_while(|commit| commit.number <= made);
        made.map(|commit| if std::mem::take(&mut commit.again) { commit.messages } else { 0 }).sum()
    }

    /// Drops all commits and counts.
    pub(super) fn forget(&mut self) {
        while self.forget_oldest() {}
        self.tally = Tally::default();
    }

    /// Restarts the age of all kept commits, as they were just repeated.
    pub(super) fn repeated(&mut self) {
        for commit in &mut self.commits {
            commit.at = Instant::now();
        }
    }

    /// Forgets the answers of the former connection, and with `another` server also its number of replicas.
    pub(super) fn elsewhere(&mut self, another: bool) {
        match another {
            true => self.replicas = Replicas::default(),
            false => self.replicas.forget(),
        }
    }

    pub(super) fn recycle(&mut self, mut memory: Vec<u8>) {
        const MOST: usize = 4;
        if self.spare.len() < MOST && memory.capacity() > 0 {
            memory.clear();
            memory.shrink_to(8 * Records::MOST_BYTES);
            self.spare.push(memory);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::buffer::Buffer;
    use crate::sink::transaction::replicas::tests::of;

    const LONG: Duration = Duration::from_secs(5);

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

    fn next(kept: &mut Kept, made: u64) -> Option<u64> {
        kept.after(made).map(|commit| commit.number)
    }

    #[tokio::test(start_paused = true)]
    async fn commits_that_all_replicas_have_are_no_longer_kept() {
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
    async fn commits_that_are_too_old_are_counted() {
        let keep = keep(1000);
        let mut kept = kept(1..=3, &keep);
        tokio::time::advance(LONG * 2).await;
        push(&mut kept, 4, &keep);
        assert_eq!(next(&mut kept, 1), Some(4));
        assert_eq!((kept.lost(1), kept.lost(1)), (20, 0), "once");
        kept.answered(4, of(1, 1, 1));
        assert_eq!((kept.is_keeping(), kept.is_open(), keep.memory.used()), (false, false, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_lost_of_what_is_kept_to_the_last() {
        let keep = keep(1_000_000);
        let mut kept = Kept::default();
        for number in 1..=50_000 {
            kept.count(number, 1);
        }
        for number in 50_001..=50_040 {
            push(&mut kept, number, &keep);
        }
        assert_eq!((kept.open(), kept.lost(50_000)), (50_400, 0));
        assert_eq!(kept.lost(49_990), 10);
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
            (next(&mut third, 0), third.lost(0)),
            (None, 10),
            "counted, where there is no room at all"
        );
    }
}
