//! Measured times, and their distribution.

use hdrhistogram::Histogram;

use super::report::Distribution;

/// Times in ns, with an error of at most 1 %.
pub(crate) struct Times(Histogram<u64>);

impl Times {
    /// Longer times count as this.
    const LONGEST: u64 = 600_000_000_000;

    pub(crate) fn new() -> Self {
        // Allocates now, so that recording does not.
        Self(Histogram::new_with_bounds(1, Self::LONGEST, 2).unwrap_or_else(|_| unreachable!("constants")))
    }

    pub(crate) fn record(&mut self, nanoseconds: u64) {
        self.0.saturating_record(nanoseconds.max(1));
    }

    pub(crate) fn distribution(&self) -> Distribution {
        let micros = |nanoseconds: u64| nanoseconds as f64 / 1e3;
        let quantile = |part| micros(self.0.value_at_quantile(part));
        let classes = self.0.iter_recorded();
        Distribution {
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p999: quantile(0.999),
            max: micros(self.0.max()),
            classes: classes
                .map(|class| (micros(class.value_iterated_to()), class.count_at_value()))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_within_one_percent_of_what_was_recorded() {
        let mut times = Times::new();
        (1..=1000).for_each(|micros| times.record(micros * 1000));
        let distribution = times.distribution();
        let Distribution { p50, p90, p99, p999, max, ref classes } = distribution;
        for (found, expected) in [(p50, 500.0), (p90, 900.0), (p99, 990.0), (p999, 999.0), (max, 1000.0)] {
            assert!((found / expected - 1.0_f64).abs() <= 0.01, "{found} for {expected}");
        }
        assert_eq!(classes.iter().map(|(_, count)| count).sum::<u64>(), 1000);
        assert!(classes.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn times_beyond_the_longest_count_as_the_longest() {
        let mut times = Times::new();
        times.record(u64::MAX);
        times.record(0);
        assert!(times.distribution().max >= 600e6);
    }
}
