//! The progress of a bench on stderr: one line that changes on a terminal, otherwise one line for each finished run.

use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::talk;

/// The line on the terminal. Removed when this is dropped.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::no_length().with_style(style(false));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self { bar }
    }

    /// A step begins, with this number of messages, or 0 if they are not counted.
    pub(crate) fn step(&self, name: &str, messages: u64) {
        if let Some(bar) = &self.bar {
            bar.set_style(style(messages > 0));
            bar.set_length(messages);
            bar.set_position(0);
            bar.set_message(name.to_owned());
        }
    }

    /// This number of messages is done.
    pub(crate) fn position(&self, messages: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(messages);
        }
    }

    /// The run is over, and its output is checked.
    pub(crate) fn check(&self) {
        if let Some(bar) = &self.bar {
            let name = bar.message();
            bar.set_style(style(false));
            bar.set_message(format!("{name}: checking the output"));
        }
    }

    /// A run is done.
    pub(crate) fn done(&self, line: impl Display) {
        match &self.bar {
            Some(bar) => {
                bar.set_style(style(false));
                bar.set_message(line.to_string());
            }
            None => talk::say(line),
        }
    }

    /// Prints lines that stay above the progress line.
    pub(crate) fn above(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style(counted: bool) -> ProgressStyle {
    let template = if counted { "{spinner} {msg} {human_pos} of {human_len}" } else { "{spinner} {msg}" };
    // An invalid template would show the default line; a test checks both.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

#[cfg(test)]
mod tests {
    use indicatif::{InMemoryTerm, ProgressDrawTarget};

    use super::*;

    #[test]
    fn one_line_shows_the_current_step() {
        let terminal = InMemoryTerm::new(3, 120);
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        let progress = Progress { bar: Some(ProgressBar::with_draw_target(None, target)) };
        let shown = || {
            progress.bar.as_ref().unwrap().tick();
            terminal.contents()
        };
        progress.step("throughput 4 consumers", 2000);
        progress.position(1000);
        assert!(shown().contains("throughput 4 consumers 1,000 of 2,000"), "{}", terminal.contents());
        progress.check();
        assert!(shown().contains("throughput 4 consumers: checking the output"), "{}", terminal.contents());
        progress.done("throughput 4 consumers: 512,000/s");
        assert!(shown().trim().ends_with("consumers: 512,000/s"), "{}", terminal.contents());
        drop(progress);
        assert_eq!(terminal.contents(), "");
    }
}
