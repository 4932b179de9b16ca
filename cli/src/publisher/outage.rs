//! Reports that messages cannot be published, and when they can be again.

use std::time::Duration;

use tokio::time::Instant;

/// What was reported about an outage, so that it is not reported with each attempt.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    since: Option<Instant>,
    /// Whether this outage was reported. If so, its end is reported too.
    is_told: bool,
    /// The last reported cause, and when. It is kept after an outage, so that a cause that returns is not reported more
    /// often.
    last: Option<(String, Instant)>,
}

impl Outage {
    /// The time between two reports of the same cause.
    const REMINDER: Duration = Duration::from_secs(30);
    /// The shortest time between reports of different causes.
    const SHORTEST: Duration = Duration::from_secs(3);

    pub(crate) fn lasts(&self) -> bool {
        self.since.is_some()
    }

    /// An attempt failed, and another one follows. Returns a line if a report is due.
    pub(crate) fn failed(&mut self, cause: &str) -> Option<String> {
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        if let Some((told, at)) = &self.last {
            let pause = if told == cause { Self::REMINDER } else { Self::SHORTEST };
            if now - *at < pause {
                return None;
            }
        }
        self.last = Some((cause.to_owned(), now));
        self.is_told = true;
        Some(match (now - since).as_secs() {
            0 => format!("cannot publish: {cause}; retrying"),
            seconds => format!("cannot publish: {cause}; still retrying after {seconds} s"),
        })
    }

    /// Messages are published again. Returns a line if the outage was reported.
    pub(crate) fn over(&mut self) -> Option<String> {
        let since = self.since.take()?;
        std::mem::take(&mut self.is_told)
            .then(|| format!("publishing again after {:.1} s", since.elapsed().as_secs_f64()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_told_at_once_and_every_half_minute_and_so_is_its_end() {
        let (mut outage, mut told) = (Outage::default(), Vec::new());
        for _ in 0..50 {
            told.extend(outage.failed("connection refused"));
            advance(Duration::from_secs(1)).await;
        }
        told.extend(outage.failed("no answer for 5s"));
        told.extend(outage.over());
        assert_eq!(
            told,
            [
                "cannot publish: connection refused; retrying",
                "cannot publish: connection refused; still retrying after 30 s",
                "cannot publish: no answer for 5s; still retrying after 50 s",
                "publishing again after 50.0 s"
            ]
        );
        assert_eq!((outage.lasts(), outage.over()), (false, None));
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_that_comes_and_goes_is_told_every_half_minute() {
        let (mut outage, mut told) = (Outage::default(), 0);
        for _ in 0..60 {
            told += usize::from(outage.failed("broken pipe").is_some());
            advance(Duration::from_secs(1)).await;
            told += usize::from(outage.over().is_some());
        }
        assert_eq!(told, 4, "two beginnings and their ends");
    }
}
