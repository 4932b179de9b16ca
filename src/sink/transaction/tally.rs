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
    /// More are not counted for themselves: as many as are made in half a minute, when each has one message.
    const MOST_RUNS: usize = 1 << 14;

    /// A commit is confirmed, with so many messages. Its number is higher than those before.
    pub(super) fn push(&mut self, number: u64, messages: u64) {
        self.runs.push_back(Run { first: number, last: number, messages });
        if self.runs.len() > Self::MOST_RUNS
            && let Some(oldest) = self.runs.pop_front()
            && let Some(next) = self.runs.front_mut()
        {
            next.absorb(oldest);
        }
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

    /// Whether replicas are known to have any.
    pub(super) fn was_replicated(&self) -> bool {
        self.replicated.last > 0
    }

    /// Takes the messages out that are in the commits after `made`, up to `until`.
    pub(super) fn take(&mut self, made: u64, until: u64) -> u64 {
        let runs = std::iter::once(&mut self.replicated).chain(&mut self.runs);
        runs.map(|run| run.take(made, until)).sum()
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

    fn take(&mut self, made: u64, until: u64) -> u64 {
        let (from, to) = (self.first.max(made + 1), self.last.min(until));
        if from > to {
            return 0;
        }
        let (part, all) = (u128::from(to - from + 1), u128::from(self.last - self.first + 1));
        // No more than there are.
        let taken = u64::try_from(u128::from(self.messages) * part / all).unwrap_or(self.messages);
        self.messages -= taken;
        taken
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
        tally.replicated(100);
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
