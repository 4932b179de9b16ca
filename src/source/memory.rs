//! A source for tests: it delivers the messages that the test hands it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Source;
use crate::error::Error;
use crate::intake::Intake;
use crate::message::Span;

/// The source's end of the test's channel.
pub(crate) struct Memory {
    input: mpsc::UnboundedReceiver<Result<Vec<String>, Error>>,
    /// How long the server takes to confirm the unsubscription.
    farewell: Duration,
}

/// The test's end of the channel. The source ends when it is dropped.
pub(crate) struct Publisher(mpsc::UnboundedSender<Result<Vec<String>, Error>>);

impl Memory {
    pub(crate) fn new(farewell: Duration) -> (Publisher, Self) {
        let (sender, input) = mpsc::unbounded_channel();
        (Publisher(sender), Self { input, farewell })
    }
}

impl Publisher {
    /// Delivers these payloads in one read.
    pub(crate) fn publish<S: ToString>(&self, payloads: impl IntoIterator<Item = S>) {
        self.0.send(Ok(payloads.into_iter().map(|payload| payload.to_string()).collect())).unwrap();
    }

    /// Ends the source with an error.
    pub(crate) fn fail(&self, error: Error) {
        self.0.send(Err(error)).unwrap();
    }
}

impl Source for Memory {
    async fn run(mut self, intake: Intake, stop: CancellationToken) -> Result<(), Error> {
        while let Some(Some(delivery)) = stop.run_until_cancelled(self.input.recv()).await {
            deliver(&intake, delivery?).await;
        }
        sleep(self.farewell).await;
        while let Ok(delivery) = self.input.try_recv() {
            deliver(&intake, delivery?).await;
        }
        Ok(())
    }
}

async fn deliver(intake: &Intake, payloads: Vec<String>) {
    let mut start = 0;
    let spans = payloads.iter().map(|payload| {
        let span = Span { start, len: u32::try_from(payload.len()).unwrap() };
        start += span.len;
        span
    });
    let spans: Vec<_> = spans.collect();
    intake.receive(spans.len() as u64);
    intake.accept(&Arc::from("messages:published"), payloads.concat().into(), spans).await;
}
