//! Messages that a node refused, or did not answer.

use std::time::Duration;

use tokio::time::Instant;

use super::lines::Message;
use super::window::Trouble;
use super::{Failure, Publisher, Uncertain, failure};

/// A connection without a reply for this long is given up.
const SILENT_FOR: Duration = Duration::from_secs(15);
/// A refusal that ends sooner than this, such as that of a slot that moves, is not reported.
const REFUSED_FOR: Duration = Duration::from_secs(1);

impl Publisher<'_> {
    /// Puts messages that have to be sent again back into the lines.
    pub(super) fn look_at(&mut self, trouble: Trouble) -> Result<(), Failure> {
        match trouble {
            Trouble::Broken { node, mut messages, error } => {
                // Together with the later ones of this connection: those would return after a reconnect, behind
                // messages that were sent meanwhile.
                messages.extend(self.window.give_up(node));
                self.connections.lose(node);
                self.fails(&format!("the connection broke ({error})"));
                self.keep_uncertain(messages);
                Ok(())
            }
            Trouble::Refused { node, refused } => {
                let now = Instant::now();
                let (mut again, mut outcome) = (Vec::new(), Ok(()));
                for (mut message, error) in refused {
                    let since = *message.refused.get_or_insert(now);
                    let name = message.name;
                    again.push(message);
                    if !self.connections.follows(name, node, &error) {
                        let name = self.connections.name(name).to_owned();
                        outcome = outcome.and(Err(Failure::Refused { name, error }));
                    } else if now - since >= REFUSED_FOR {
                        self.fails(&failure::answer(&error));
                    }
                }
                self.lines.come_back(again);
                outcome
            }
        }
    }

    pub(super) fn look_for_silence(&mut self) {
        for (node, silent_for) in self.window.silent() {
            if silent_for < SILENT_FOR {
                self.connections.suspect(node);
            } else {
                let messages = self.window.give_up(node);
                self.connections.lose(node);
                self.fails(&format!("no answer for {} s", silent_for.as_secs()));
                self.keep_uncertain(messages);
            }
        }
    }

    fn keep_uncertain(&mut self, mut messages: Vec<Message>) {
        match self.uncertain {
            Uncertain::Count => self.unconfirmed += messages.len() as u64,
            Uncertain::Resend => {
                messages.iter_mut().for_each(|message| message.is_uncertain = true);
                self.lines.come_back(messages);
            }
        }
    }

    pub(super) fn fails(&mut self, cause: &str) {
        if let Some(line) = self.outage.failed(cause) {
            self.progress.say(format_args!("warning: {line}"));
        }
    }

    /// Messages were confirmed. An outage is over when every name has a node and no refused message is left.
    pub(super) fn goes_on(&mut self) {
        let is_refused = |message: &Message| message.refused.is_some();
        if self.outage.lasts()
            && self.connections.are_complete()
            && !self.lines.all().chain(self.window.messages()).any(is_refused)
            && let Some(line) = self.outage.over()
        {
            self.progress.say(line);
        }
    }
}
