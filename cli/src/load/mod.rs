//! `load`: a load generator. The messages go through [`crate::publisher`].
//!
//! ```text
//!   args ──► plan      what to publish, and when to end
//!              │
//!            pace      bursts, or even with a metronome
//!              │
//!            payload   the content of a message
//! ```

mod args;
mod pace;
mod payload;
mod plan;

use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

pub(crate) use self::args::{LoadArgs, payload_bytes};
pub(crate) use self::pace::{Pace, Rate};
pub(crate) use self::payload::Payload;
pub(crate) use self::plan::Plan;

use crate::pacing::Metronome;
use crate::publisher::{
    CHUNK_MESSAGES, Connections, Failure, Progress, Published, Publisher, Summary, Uncertain, report,
};
use crate::stop::Stop;

/// How long messages that are due may wait for a server after the duration is over.
const OVERTIME: Duration = Duration::from_secs(30);

/// Publishes a load and prints the summary, also after a signal or an error.
///
/// Exit code 1 if messages are unconfirmed or were not published.
pub(crate) async fn run(args: LoadArgs) -> anyhow::Result<ExitCode> {
    let (address, tls) = args.connection.resolve()?;
    let plan = args.plan()?;
    let stop = Stop::on_signals()?;
    let published = tokio::select! {
        connections = Connections::open(&address, &tls, &plan.target) => {
            let progress = Progress::new(plan.total());
            tokio::select! {
                published = generate(connections?, &plan, &stop, &progress, |_| ()) => published,
                never = progress.follow() => match never {},
            }
        }
        () = stop.asked() => Published { summary: Summary::default(), failure: None },
    };
    report(published, &plan.target, &address.to_string(), args.json, &stop).await
}

/// Publishes the load until it is done or a stop is requested. Calls `made` with each id before its message is sent.
pub(crate) async fn generate(
    connections: Connections,
    plan: &Plan,
    stop: &Stop,
    progress: &Progress,
    made: impl FnMut(Uuid),
) -> Published {
    let start = Instant::now();
    let mut load = Load {
        publisher: Publisher::new(connections, &plan.target, Uncertain::Count, stop, progress),
        payload: Payload::new(plan.payload_bytes),
        stop,
        start,
        end: plan.time_limit().map(|limit| start + limit),
        total: plan.total().unwrap_or(u64::MAX),
        count: 0,
        made,
    };
    let outcome = match &plan.pace {
        Pace::Bursts { batch, pause } => load.bursts(*batch, pause).await,
        Pace::Even(rate) => load.evenly(*rate).await,
    };
    load.publisher.finish(outcome, plan.duration.map(|_| OVERTIME)).await
}

struct Load<'a, F> {
    publisher: Publisher<'a>,
    payload: Payload,
    stop: &'a Stop,
    start: Instant,
    end: Option<Instant>,
    /// Messages to create, and how many were created.
    total: u64,
    count: u64,
    made: F,
}

impl<F: FnMut(Uuid)> Load<'_, F> {
    async fn bursts(&mut self, batch: u64, pause: &RangeInclusive<Duration>) -> Result<(), Failure> {
        loop {
            let until = self.total.min(self.count.saturating_add(batch));
            while self.count < until && !self.is_over() && self.publisher.room(self.end).await? {
                self.add(until)?;
            }
            if self.is_over() {
                return Ok(());
            }
            let pause = random_within(pause);
            if !pause.is_zero() {
                let over = Instant::now() + pause;
                let over = self.end.map_or(over, |end| end.min(over));
                self.publisher.wait(sleep_until(over)).await?;
            }
        }
    }

    /// Counts messages that are due, and for which there was no room until the end, as not published.
    async fn evenly(&mut self, rate: Rate) -> Result<(), Failure> {
        let metronome = Metronome::start(rate.tick()).map_err(Failure::Thread)?;
        let sent = self.while_there_is_room(rate, &metronome).await;
        if !matches!(sent, Ok(true)) {
            self.publisher.leave_out(self.due(rate) - self.count);
        }
        sent.map(drop)
    }

    /// False if there was no room for a message until the end.
    async fn while_there_is_room(&mut self, rate: Rate, metronome: &Metronome) -> Result<bool, Failure> {
        loop {
            let due = self.due(rate);
            while self.count < due {
                if !self.publisher.room(self.end).await? {
                    return Ok(false);
                }
                self.add(due)?;
            }
            if self.count == self.total || self.stop.is_asked() {
                return Ok(true);
            }
            self.publisher.wait(metronome.tick()).await?;
        }
    }

    fn due(&self, rate: Rate) -> u64 {
        rate.due(self.start.elapsed()).min(self.total)
    }

    /// Adds messages as long as there is room, until there are this many. They may still wait in their lines when this
    /// returns.
    fn add(&mut self, until: u64) -> Result<(), Failure> {
        let until = until.min(self.count + CHUNK_MESSAGES as u64);
        while self.count < until && self.publisher.has_room() {
            let id = Uuid::new_v4();
            (self.made)(id);
            self.publisher.add(self.payload.with_id(id).to_vec())?;
            self.count += 1;
        }
        self.publisher.pump();
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.count == self.total || self.stop.is_asked() || self.end.is_some_and(|end| Instant::now() >= end)
    }
}

fn random_within(range: &RangeInclusive<Duration>) -> Duration {
    let width = *range.end() - *range.start();
    range.start().saturating_add(width.mul_f64(fastrand::f64()))
}
