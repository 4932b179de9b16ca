//! How many messages were in the commits that were made, for when a server turns out to lack some of them.

use std::collections::VecDeque;

/// The messages of all commits that were confirmed.
///
/// Each commit counts for itself until replicas have it, as far as there are few. Others count together: of a part of
/// them it is not known exactly how many messages it has.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Those that replicas are known to have.
    replicated: Run,
    /// Those after them.
    runs: VecDeque<Run>,
}

/// Commits with neighbouring numbers.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    first: u64,
    last: u64,
    messages: u64,
}

impl Tally {
    /// More are not counted for themselves.
    const MOST_RUNS: usize = 1 << 10;

    /// A commit is confirmed, with so many messages. Its number is higher than those before.
    pub(super) fn push(&mut self, number: u64, messages: u64) {
        if self.runs.len() >= Self::MOST_RUNS
            && let Some(oldest) = self.runs.pop_front()
            && let Some(next) = self.runs.front_mut()
        {
            next.absorb(oldest);
        }
        self.runs.push_back(Run { first: number, last: number, messages });
    }

    /// Replicas have the commits up to this number.
    pub(super) fn replicated(&mut self, number: u64) {
        while self.runs.front().is_some_and(|oldest| oldest.last <= number) {
            let Some(mut oldest) = self.runs.pop_front() else { break };
            oldest.absorb(self.replicated);
            self.replicated = oldest;
        }
    }

    /// Whether there are commits that replicas are not known to have.
    pub(super) fn is_open(&self) -> bool {
        !self.runs.is_empty()
    }

    /// How many messages they have.
    pub(super) fn open(&self) -> u64 {
        self.runs.iter().map(|run| run.messages).sum()
    }

    /// Whether replicas are known to have any.
    pub(super) fn was_replicated(&self) -> bool {
        self.replicated.last > 0
    }

    /// Takes the messages out that are in the commits after `made`, up to `until`: they count no more.
    pub(super) fn take(&mut self, made: u64, until: u64) -> u64 {
        let had = self.replicated.last > made;
        if had {
            self.runs.push_front(std::mem::take(&mut self.replicated));
        }
        self.cut_after(made);
        if had && self.runs.front().is_some_and(|run| run.last <= made) {
            self.replicated = self.runs.pop_front().unwrap_or_default();
        }
        self.cut_after(until);
        let lacking = self.runs.iter_mut().filter(|run| run.first > made && run.last <= until);
        lacking.map(|run| std::mem::take(&mut run.messages)).sum()
    }

    /// Has the run that goes beyond this number end with it.
    fn cut_after(&mut self, number: u64) {
        if let Some(at) = self.runs.iter().position(|run| (run.first..run.last).contains(&number)) {
            let later = self.runs[at].split_after(number);
            self.runs.insert(at + 1, later);
        }
    }
}

impl Run {
    /// Takes an older run in, unless that is none.
    fn absorb(&mut self, older: Self) {
        if older.last > 0 {
            self.first = older.first;
            self.messages += older.messages;
        }
    }

    /// Takes those after the number out of it, with their part of the messages.
    fn split_after(&mut self, number: u64) -> Self {
        let (before, all) = (u128::from(number + 1 - self.first), u128::from(self.last + 1 - self.first));
        // No more than there are.
        let stay = u64::try_from(u128::from(self.messages) * before / all).unwrap_or(self.messages);
        let later = Self { first: number + 1, last: self.last, messages: self.messages - stay };
        (self.last, self.messages) = (number, stay);
        later
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
    fn what_a_server_lacks_is_counted_once() {
        let mut tally = tally(10);
        assert_eq!(tally.take(7, 9), 8 + 9);
        assert_eq!(tally.take(7, 10), 10);
        assert_eq!(tally.take(0, 10), sum(1..=7));
    }

    #[test]
    fn after_what_replicas_have_it_is_exact_however_much_it_is() {
        let many = 3 * Tally::MOST_RUNS as u64;
        let mut tally = tally(many);
        assert_eq!(tally.runs.len(), Tally::MOST_RUNS);
        tally.push(many + 1, 5);
        assert_eq!(tally.take(0, many + 1), sum(1..=many) + 5);

        let mut tally = Tally::default();
        tally.push(1, 1000);
        tally.replicated(1);
        (2..=many).for_each(|number| tally.push(number, number));
        assert_eq!(tally.take(1, many), sum(2..=many));
        assert_eq!(tally.take(0, many), 1000);
    }

    #[test]
    fn of_what_replicas_had_a_part_is_estimated() {
        let mut tally = Tally::default();
        (1..=100).for_each(|number| tally.push(number, 7));
        tally.replicated(60);
        assert!(tally.is_open());
        assert_eq!(tally.take(50, 100), 50 * 7);
        assert_eq!(tally.take(50, 100), 0, "once");
        assert_eq!(tally.take(40, 100), 10 * 7);
        (101..=120).for_each(|number| tally.push(number, 7));
        tally.replicated(120);
        assert!(!tally.is_open() && tally.was_replicated());
    }

    #[test]
    fn a_number_that_was_never_confirmed_has_no_messages() {
        let mut tally = Tally::default();
        tally.push(1, 3);
        tally.push(4, 5);
        assert_eq!((tally.take(1, 3), tally.take(3, 4)), (0, 5));
    }
}
