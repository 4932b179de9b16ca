//! Counts the messages of confirmed commits, for the report when a server turns out to lack some of them.

use std::collections::VecDeque;

/// The number of messages in all confirmed commits that are not kept.
///
/// Each commit after the last replicated one has its own count: a server that lacks commits usually lacks only a few
/// of these. Older commits, and those beyond [`MOST_RUNS`](Self::MOST_RUNS), are counted together; for a part of such
/// a run the number of messages is an estimate.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Commits that all replicas are known to have.
    replicated: Run,
    /// Later commits.
    runs: VecDeque<Run>,
}

/// Commits with adjacent numbers.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    first: u64,
    last: u64,
    messages: u64,
}

impl Tally {
    /// The limit of runs: 192 KiB per lane. Further commits join the last run.
    const MOST_RUNS: usize = 1 << 13;

    /// Counts a commit. Its number is usually the highest one, but a commit that was kept for a while comes after
    /// later ones that were not.
    pub(super) fn push(&mut self, number: u64, messages: u64) {
        let at = self.runs.partition_point(|run| run.first <= number);
        let is_full = self.runs.len() >= Self::MOST_RUNS;
        match at.checked_sub(1).map(|before| &mut self.runs[before]) {
            Some(run) if is_full || number <= run.last => {
                run.last = run.last.max(number);
                run.messages += messages;
            }
            _ => self.runs.insert(at, Run { first: number, last: number, messages }),
        }
    }

    /// Notes that all replicas have the commits up to this number.
    pub(super) fn replicated(&mut self, number: u64) {
        while self.runs.front().is_some_and(|oldest| oldest.last <= number) {
            let Some(oldest) = self.runs.pop_front() else { break };
            if !self.was_replicated() {
                self.replicated.first = oldest.first;
            }
            self.replicated.last = oldest.last;
            self.replicated.messages += oldest.messages;
        }
    }

    /// Whether replicas may lack some of the commits.
    pub(super) fn is_open(&self) -> bool {
        !self.runs.is_empty()
    }

    /// The number of messages in these commits.
    pub(super) fn open(&self) -> u64 {
        self.runs.iter().map(|run| run.messages).sum()
    }

    /// Whether replicas are known to have at least one commit.
    pub(super) fn was_replicated(&self) -> bool {
        self.replicated.last > 0
    }

    /// Removes the commits after this number, and returns their number of messages.
    pub(super) fn take_after(&mut self, number: u64) -> u64 {
        let mut taken = 0;
        while let Some(last) = self.runs.back_mut().filter(|last| last.last > number) {
            taken += last.take_after(number);
            if last.is_empty() {
                self.runs.pop_back();
            }
        }
        if self.replicated.last > number {
            taken += self.replicated.take_after(number);
        }
        taken
    }
}

impl Run {
    /// Removes the commits after this number from the run, and returns their share of the messages.
    fn take_after(&mut self, number: u64) -> u64 {
        let left = (number + 1).saturating_sub(self.first);
        let all = self.last + 1 - self.first;
        let stay = u128::from(self.messages) * u128::from(left) / u128::from(all);
        // The share cannot exceed the total.
        let stay = u64::try_from(stay).unwrap_or(self.messages);
        let taken = self.messages - stay;
        (self.last, self.messages) = (self.first + left - 1, stay);
        taken
    }

    fn is_empty(&self) -> bool {
        self.last < self.first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(commits: u64) -> Tally {
        let mut tally = Tally::default();
        (1..=commits).for_each(|number| tally.push(number, number));
        tally
    }

    fn sum(numbers: std::ops::RangeInclusive<u64>) -> u64 {
        numbers.sum()
    }

    #[test]
    fn commits_that_a_server_lacks_are_counted_once() {
        let mut tally = tally(10);
        assert_eq!(tally.take_after(7), 8 + 9 + 10);
        assert_eq!(tally.take_after(7), 0);
        tally.push(11, 5);
        assert_eq!(tally.take_after(0), sum(1..=7) + 5);
        assert!(!tally.is_open());
    }

    #[test]
    fn it_is_exact_for_a_while_after_what_replicas_have_however_much_comes_then() {
        let many = 3 * Tally::MOST_RUNS as u64;
        let mut tally = tally(many);
        tally.replicated(100);
        assert_eq!((tally.runs.len(), tally.open()), (Tally::MOST_RUNS - 100, sum(101..=many)));
        assert_eq!(tally.take_after(150), sum(151..=many));
        assert_eq!(tally.take_after(100), sum(101..=150));
        assert_eq!(tally.take_after(0), sum(1..=100));
    }

    #[test]
    fn the_count_of_replicated_commits_is_estimated_in_part() {
        let mut tally = Tally::default();
        (1..=100).for_each(|number| tally.push(number, 7));
        tally.replicated(60);
        assert!(tally.is_open());
        assert_eq!(tally.take_after(50), 50 * 7);
        assert_eq!(tally.take_after(50), 0, "once");
        assert_eq!(tally.take_after(40), 10 * 7);
        assert!(!tally.is_open() && tally.was_replicated());
        (101..=120).for_each(|number| tally.push(number, 7));
        assert_eq!(tally.take_after(0), 60 * 7);
    }

    #[test]
    fn a_commit_that_arrives_late_counts_under_its_own_number() {
        let mut tally = Tally::default();
        for (number, messages) in [(3, 30), (1, 10), (2, 20), (4, 40)] {
            tally.push(number, messages);
        }
        assert_eq!((tally.take_after(2), tally.take_after(1), tally.take_after(0)), (70, 20, 10));
    }

    #[test]
    fn a_number_that_was_never_confirmed_has_no_messages() {
        let mut tally = Tally::default();
        tally.push(1, 3);
        tally.push(4, 5);
        assert_eq!((tally.take_after(3), tally.take_after(1), tally.take_after(0)), (5, 0, 3));
    }
}
