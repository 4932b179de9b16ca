//! When a process renews its lease, and when it may judge the leases of others.

use std::time::Duration;

use tokio::time::Instant;

/// Only computes: callers report what happened, and act on the answers.
///
/// The server's clock decides whether a lease has lapsed. That proves a dead process only if the process *could* have
/// renewed, which the server's clock does not show. So no process judges right after something that may have kept all
/// of them from renewing:
///
/// 1. The server is frozen for 8 s (or away, or its machine sleeps). B renewed 3 s before that, A just before.
/// 2. The server continues. B's lease has lapsed, A's has not, and A reaches the server first.
/// 3. If A judged now, it would remove the ids and lanes of B, which lives and is about to renew.
///
/// A notices that its own renewal came late, whether or not its lease lapsed, and judges no process for one lease. A
/// new process has no earlier renewal to compare with, so it waits until every living process has renewed.
#[derive(Debug)]
pub(crate) struct Timing {
    lease: Duration,
    renewed: Option<Instant>,
    judges_from: Option<Instant>,
}

impl Timing {
    pub(crate) fn new(lease: Duration) -> Self {
        Self { lease, renewed: None, judges_from: None }
    }

    /// The renewal was confirmed at `now`. `lapsed`: the server had not found a valid lease.
    pub(crate) fn renewed(&mut self, now: Instant, lapsed: bool) {
        match self.renewed {
            None => self.judges_from = Some(now + self.interval() + self.retry()),
            Some(last) if lapsed || now - last > self.lease / 2 => self.pause(now),
            Some(_) => {}
        }
        self.renewed = Some(now);
    }

    /// The own lease has lapsed: judge no process for one lease.
    pub(crate) fn pause(&mut self, now: Instant) {
        self.judges_from = Some(now + self.lease);
    }

    pub(crate) fn may_judge(&self, now: Instant) -> bool {
        self.judges_from.is_some_and(|from| from <= now)
    }

    /// When to renew first after registering: when a new process may begin to judge.
    pub(crate) fn first_renewal(&self, now: Instant) -> Instant {
        self.judges_from.unwrap_or(now).max(now)
    }

    /// From the start of one renewal to the next.
    pub(crate) fn interval(&self) -> Duration {
        self.lease / 3
    }

    /// From a failed renewal to the next. Short, so that all processes have renewed soon after the server is back.
    pub(crate) fn retry(&self) -> Duration {
        self.lease / 10
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn registered() -> (Timing, Instant) {
        let now = Instant::now();
        let mut timing = Timing::new(10 * SECOND);
        assert!(!timing.may_judge(now));
        timing.renewed(now, true);
        (timing, now)
    }

    /// After the wait of a new process.
    fn settled() -> (Timing, Instant) {
        let (mut timing, start) = registered();
        let now = start + timing.interval() + timing.retry();
        timing.renewed(now, false);
        assert!(timing.may_judge(now));
        (timing, now)
    }

    #[test]
    fn a_newcomer_judges_once_everyone_alive_has_had_time_to_renew() {
        let (mut timing, start) = registered();
        timing.renewed(start + SECOND / 10, false);
        assert!(!timing.may_judge(start + SECOND / 10));
        assert!(!timing.may_judge(start + timing.interval()));
        let first = timing.first_renewal(start + SECOND / 10);
        assert!(first > start + timing.interval() && first < start + timing.lease / 2);
        timing.renewed(first, false);
        assert!(timing.may_judge(first));
    }

    #[test]
    fn a_process_whose_lease_lapsed_judges_nobody_for_one_lease() {
        let (mut timing, now) = settled();
        timing.renewed(now + 3 * SECOND, true);
        assert!(!timing.may_judge(now + 3 * SECOND));
        assert!(!timing.may_judge(now + 12 * SECOND));
        assert!(timing.may_judge(now + 13 * SECOND));
    }

    #[test]
    fn a_process_that_renewed_late_judges_nobody_for_one_lease() {
        let (mut timing, now) = settled();
        timing.renewed(now + 8 * SECOND, false);
        assert!(!timing.may_judge(now + 17 * SECOND));
        assert!(timing.may_judge(now + 18 * SECOND));
    }

    #[test]
    fn renewals_in_time_keep_the_right_to_judge() {
        let (mut timing, mut now) = settled();
        for _ in 0..100 {
            now += timing.interval() + timing.retry();
            timing.renewed(now, false);
            assert!(timing.may_judge(now));
        }
    }

    #[test]
    fn the_ids_of_a_killed_process_are_judged_well_within_15_seconds() {
        let timing = Timing::new(10 * SECOND);
        assert!(10 * SECOND + timing.interval() + timing.retry() < 15 * SECOND);
    }
}
