//! The progress bar while messages are published.

use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use tokio::time::interval;

use crate::talk::say;

/// The number of confirmed messages, and a bar on stderr that shows it if stderr is a terminal. Dropping this removes
/// the bar, so that the last line of the output stands alone.
pub(crate) struct Progress {
    pub(super) confirmed: AtomicU64,
    bar: ProgressBar,
}

impl Progress {
    /// A bar up to `total`, or only a counter if the total is not known.
    pub(crate) fn new(total: Option<u64>) -> Self {
        Self::on(ProgressDrawTarget::stderr(), total)
    }

    /// No bar.
    pub(crate) fn hidden() -> Self {
        Self::on(ProgressDrawTarget::hidden(), None)
    }

    fn on(target: ProgressDrawTarget, total: Option<u64>) -> Self {
        let bar = ProgressBar::with_draw_target(total, target).with_style(style(total));
        Self { confirmed: AtomicU64::new(0), bar }
    }

    /// Shows the counter until this future is dropped. The publisher counts, this only reads.
    pub(crate) async fn follow(&self) -> Infallible {
        let mut ticks = interval(Duration::from_millis(100));
        loop {
            ticks.tick().await;
            self.bar.set_position(self.confirmed.load(Ordering::Acquire));
        }
    }

    /// Prints one line above the bar.
    pub(crate) fn say(&self, line: impl fmt::Display) {
        self.bar.suspend(|| say(line));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(total: Option<u64>) -> ProgressStyle {
    let template = match total {
        Some(_) => "{bar:40} {human_pos} of {human_len} messages, {rate} per second, {eta} left",
        None => "{spinner} {human_pos} messages, {rate} per second, {elapsed}",
    };
    // A template that does not parse would show the default bar; a test checks both templates.
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        // The library's own `per_sec` has four decimals.
        .with_key("rate", |state: &ProgressState, text: &mut dyn fmt::Write| {
            // The bar only informs: a failed write is ignored.
            let _ = write!(text, "{}", HumanCount(state.per_sec().round() as u64));
        })
}

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;

    use super::*;

    #[test]
    fn the_bar_shows_how_many_messages_are_published_and_then_goes() {
        for (total, shown) in [(Some(2000), "1,000 of 2,000 messages"), (None, "1,000 messages")] {
            let terminal = InMemoryTerm::new(3, 120);
            let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
            let progress = Progress::on(target, total);
            progress.bar.set_position(1000);
            progress.bar.tick();
            assert!(terminal.contents().contains(shown), "{}", terminal.contents());
            drop(progress);
            assert_eq!(terminal.contents(), "");
        }
    }
}
