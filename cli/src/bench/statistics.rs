//! Several runs together: medians and spreads. NaN if nothing was measured.

use super::report::{Report, Run, ServerLimit};
use super::source::Source;

/// The median of some measurements, the smallest and the largest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (Some(least), Some(most)) = (values.first(), values.last()) else {
            return Self { median: f64::NAN, least: f64::NAN, most: f64::NAN };
        };
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Self { median, least: *least, most: *most }
    }
}

/// Runs with the same number of consumers, or of nodes.
pub(crate) struct Group<'a, T> {
    pub(crate) key: usize,
    pub(crate) runs: Vec<&'a T>,
}

/// The groups, in the order in which their keys first appear.
pub(crate) fn grouped<T>(runs: &[T], key: impl Fn(&T) -> usize) -> Vec<Group<'_, T>> {
    let mut groups: Vec<Group<'_, T>> = Vec::new();
    for run in runs {
        let key = key(run);
        match groups.iter_mut().find(|group| group.key == key) {
            Some(group) => group.runs.push(run),
            None => groups.push(Group { key, runs: vec![run] }),
        }
    }
    groups
}

impl<T> Group<'_, T> {
    pub(crate) fn spread(&self, value: impl Fn(&T) -> f64) -> Spread {
        Spread::of(self.runs.iter().map(|run| value(run)))
    }

    pub(crate) fn median(&self, value: impl Fn(&T) -> f64) -> f64 {
        self.spread(value).median
    }

    pub(crate) fn sum(&self, count: impl Fn(&T) -> u64) -> u64 {
        self.runs.iter().map(|run| count(run)).sum()
    }
}

impl Group<'_, Run> {
    pub(crate) fn peak_memory(&self) -> Option<u64> {
        self.runs.iter().filter_map(|run| run.peak_memory).max()
    }

    pub(crate) fn is_flawless(&self) -> bool {
        self.runs.iter().all(|run| run.delivery.is_flawless())
    }
}

/// The same work without a group, to which the group is compared.
pub(crate) struct Floor {
    pub(crate) name: &'static str,
    /// Messages a second.
    pub(crate) rate: f64,
    /// The server's CPU, in µs per message.
    pub(crate) cpu_us: f64,
}

impl Report {
    pub(crate) fn floor(&self) -> Floor {
        match self.parameters.source {
            Source::Pubsub | Source::Sharded => Floor {
                name: "server's limit",
                rate: Spread::of(self.server_limit.iter().map(|run| run.messages as f64 / run.seconds))
                    .median,
                cpu_us: Spread::of(self.server_limit.iter().map(ServerLimit::cpu_us)).median,
            },
            Source::Stream => Floor {
                name: "bare move",
                rate: Spread::of(self.bare.iter().map(|run| run.messages as f64 / run.seconds)).median,
                cpu_us: Spread::of(self.bare.iter().map(|run| run.server_cpu_us)).median,
            },
        }
    }

    /// Messages a second of the engine without a server.
    pub(crate) fn engine_rate(&self, consumers: usize) -> f64 {
        let runs = self.engine_limit.iter().filter(|limit| limit.consumers == consumers);
        Spread::of(runs.map(|limit| limit.messages as f64 / limit.seconds)).median
    }

    /// Messages a second that the work allows without a group.
    pub(crate) fn work_rate(&self, consumers: usize) -> f64 {
        Spread::of(
            self.work_limit.iter().filter(|limit| limit.consumers == consumers).map(|limit| limit.rate),
        )
        .median
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_ones() {
        assert_eq!(Spread::of([4.0, 1.0, 3.0]), Spread { median: 3.0, least: 1.0, most: 4.0 });
        assert_eq!(Spread::of([4.0, 1.0]).median, 2.5);
        assert!(Spread::of([]).median.is_nan());
    }

    #[test]
    fn groups_keep_the_order_of_their_first_run() {
        let groups = grouped(&[(4, 1.0), (1, 2.0), (4, 3.0)], |run: &(usize, f64)| run.0);
        let medians: Vec<_> = groups.iter().map(|group| (group.key, group.median(|run| run.1))).collect();
        assert_eq!(medians, [(4, 2.0), (1, 2.0)]);
    }
}
