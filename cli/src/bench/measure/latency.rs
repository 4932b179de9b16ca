//! Latency: an open loop at one rate.

use super::Bench;
use super::scenario::{Scenario, ScenarioResult};
use crate::bench::output::numbers;
use crate::bench::report::{Latency, Outcome};
use crate::clock;
use crate::pacing::Schedule;

impl Bench<'_> {
    /// The latency at this rate, in messages a second.
    pub(super) async fn latency(&mut self, rate: f64) -> anyhow::Result<Latency> {
        let (consumers, messages) = (self.plan.latency_consumers, self.plan.messages_at(rate));
        let name = format!("latency at {}/s", numbers::rate(rate));
        let scenario = Scenario { name: &name, consumers, messages, rate: Some(rate) };
        let result = self.scenario(scenario).await?;
        let outcome = outcome(rate, messages, &result);
        match &outcome {
            Outcome::Reached { latency, .. } => {
                self.progress
                    .done(format_args!("{name}: p50 {:.0} µs, p99 {:.0} µs", latency.p50, latency.p99));
            }
            Outcome::Missed { rate, reason } => self
                .progress
                .done(format_args!("{name}: not reached, {}/s only: {reason}", numbers::rate(*rate))),
        }
        Ok(Latency { rate, messages, consumers, outcome, delivery: result.delivery })
    }
}

/// The latency, if the rate was reached.
fn outcome(rate: f64, messages: u64, result: &ScenarioResult) -> Outcome {
    let ScenarioResult { measured, last, finished, delivery } = result;
    let (begin, loaded) = (measured.begin, &measured.loaded);
    let end = Schedule::new(begin, rate).due(messages - 1);
    let late = Late {
        planned: end - begin,
        written: loaded.written.saturating_sub(end),
        stalled: loaded.stalled,
        appended: last.at.saturating_sub(end),
        lost: delivery.lost,
    };
    match (late.reason(), finished.latency.clone(), loaded.late.clone()) {
        (None, Some(latency), Some(late)) => Outcome::Reached { latency, late },
        (reason, ..) => {
            let appended = messages - delivery.lost;
            let rate = appended as f64 / clock::seconds(begin, last.at.max(loaded.written));
            Outcome::Missed {
                rate,
                reason: reason.unwrap_or("nothing was measured; please report it".to_owned()),
            }
        }
    }
}

/// How late a run was, in ns.
struct Late {
    /// How long publishing should have taken.
    planned: u64,
    /// How late the last message was written.
    written: u64,
    /// How long the server's socket was full, in total.
    stalled: u64,
    /// How long after the last message was due the last append was confirmed.
    appended: u64,
    lost: u64,
}

impl Late {
    /// Why the rate was not reached. `None` if it was.
    fn reason(&self) -> Option<String> {
        const TOLERATED: u64 = 50_000_000;
        /// The minimum for 5 % of the time: a short pause of the machine.
        const BEHIND: u64 = 200_000_000;
        let seconds = |nanoseconds: u64| nanoseconds as f64 / 1e9;
        if self.written > TOLERATED.max(self.planned / 100) {
            let written = seconds(self.written);
            return Some(if self.stalled > self.written / 2 {
                format!(
                    "the server accepted the last message {written:.1} s late, because it is fully busy; use a lower rate"
                )
            } else {
                format!(
                    "the load process wrote the last message {written:.1} s late, because it had too little CPU; use a \
                     lower rate, or a machine with more cores"
                )
            });
        }
        if self.lost > 0 {
            return Some(format!("{} messages were lost; use a lower rate", self.lost));
        }
        (self.appended > BEHIND.max(self.planned / 20)).then(|| {
            format!(
                "group and server were {:.1} s behind at the end; use a lower rate, or other --latency-consumers",
                seconds(self.appended)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON_TIME: Late =
        Late { planned: 10_000_000_000, written: 90_000_000, stalled: 0, appended: 450_000_000, lost: 0 };

    #[test]
    fn a_rate_is_reached_if_every_part_is_nearly_on_time() {
        assert_eq!(ON_TIME.reason(), None);
        let short = Late { planned: 300_000_000, written: 49_000_000, appended: 199_000_000, ..ON_TIME };
        assert_eq!(short.reason(), None, "50 ms are tolerated in any run");
    }

    #[test]
    fn a_missed_rate_names_the_part_that_was_late() {
        let load = Late { written: 110_000_000, ..ON_TIME };
        assert!(load.reason().unwrap().starts_with("the load process"));
        let server = Late { written: 2_000_000_000, stalled: 1_500_000_000, ..ON_TIME };
        assert!(server.reason().unwrap().starts_with("the server accepted"));
        let group = Late { appended: 1_100_000_000, ..ON_TIME };
        assert!(group.reason().unwrap().starts_with("group and server were 1.1 s behind"));
        assert!(Late { lost: 7, ..ON_TIME }.reason().unwrap().starts_with("7 messages were lost"));
    }
}
