//! Gaps: the spans of time in which the group could not receive.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// The gaps since the start of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gaps {
    /// The number of gaps, including open ones.
    pub count: u64,
    /// Their total duration, including open ones up to now.
    pub total: Duration,
    /// The duration of the open gap so far; with shards, of the longest one. `None` without an open gap.
    pub open: Option<Duration>,
    /// The latest closed gaps, oldest first, at most 100.
    pub latest: VecDeque<Gap>,
}

/// A span of time in which published messages may have been missed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// The channel or stream that was not read.
    pub channel: String,
    /// The number of the shard, if the input has any.
    pub shard: Option<u32>,
    /// The cause, as text.
    pub cause: String,
    /// From the last moment when all messages were received to the confirmed subscription of the new connection. If the
    /// old connection went to a server that had been replaced without closing it: from the last moment when that server
    /// was known to serve.
    pub duration: Duration,
    /// When the gap ended, by this machine's clock.
    pub ended: SystemTime,
}

/// The closed gaps, and the open one.
#[derive(Debug, Default)]
pub(super) struct Log {
    over: Gaps,
    open: Option<Instant>,
}

impl Log {
    pub(super) fn begin(&mut self, since: Instant) {
        self.open.get_or_insert(since);
    }

    /// Records the end of a gap: of the open one, if there is one.
    pub(super) fn end(&mut self, gap: Gap) {
        self.open = None;
        self.over.add(gap);
    }

    pub(super) fn read(&self) -> Gaps {
        let mut gaps = self.over.clone();
        if let Some(since) = self.open {
            let lasts = since.elapsed();
            gaps.count += 1;
            gaps.total += lasts;
            gaps.open = Some(lasts);
        }
        gaps
    }
}

impl Gaps {
    const MOST_LATEST: usize = 100;

    pub(super) fn add(&mut self, gap: Gap) {
        self.count += 1;
        self.total += gap.duration;
        self.latest.push_back(gap);
        self.forget();
    }

    /// The gaps of two groups together.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.count += other.count;
        self.total += other.total;
        self.open = self.open.max(other.open);
        self.latest.extend(other.latest);
        self.latest.make_contiguous().sort_by_key(|gap| gap.ended);
        self.forget();
        self
    }

    fn forget(&mut self) {
        let older = self.latest.len().saturating_sub(Self::MOST_LATEST);
        self.latest.drain(..older);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(second: u64) -> Gap {
        let ended = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        Gap {
            channel: "orders".to_owned(),
            shard: None,
            cause: second.to_string(),
            duration: Duration::from_millis(10),
            ended,
        }
    }

    fn gaps(seconds: impl Iterator<Item = u64>) -> Gaps {
        let mut gaps = Gaps::default();
        seconds.for_each(|second| gaps.add(gap(second)));
        gaps
    }

    #[test]
    fn all_gaps_are_counted_and_the_latest_are_kept() {
        let gaps = gaps(0..150);
        assert_eq!((gaps.count, gaps.total), (150, Duration::from_millis(1500)));
        assert!(gaps.latest.into_iter().eq((50..150).map(gap)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_gap_counts_up_to_now() {
        let mut log = Log::default();
        log.end(gap(1));
        log.begin(Instant::now());
        tokio::time::advance(Duration::from_secs(2)).await;
        let open = Some(Duration::from_secs(2));
        assert_eq!(
            log.read(),
            Gaps { count: 2, total: Duration::from_millis(2010), open, latest: [gap(1)].into() }
        );
        log.end(gap(3));
        assert_eq!((log.read().count, log.read().open), (2, None));
    }

    #[test]
    fn the_latest_gaps_of_several_groups_are_kept() {
        let (even, odd) = (gaps((0..120).step_by(2)), gaps((1..120).step_by(2)));
        let both = even.and(odd);
        assert_eq!((both.count, both.total), (120, Duration::from_millis(1200)));
        assert!(both.latest.into_iter().eq((20..120).map(gap)));
    }
}
