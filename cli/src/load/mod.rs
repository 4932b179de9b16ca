//! `load`: a load generator. The messages go through [`crate::publisher`].
//!
//! ```text
//!   args ──► plan      what to publish, and when to end
//!              │
//!            pace      bursts, or an even rate
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

use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use uuid::Uuid;

pub(crate) use self::args::{LoadArgs, payload_bytes};
pub(crate) use self::pace::{Pace, Rate};
pub(crate) use self::payload::Payload;
pub(crate) use self::plan::Plan;

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

/// Publishes the load until it is done or a stop is requested. Calls `created` with each id before its message is sent.
pub(crate) async fn generate(
    connections: Connections,
    plan: &Plan,
    stop: &Stop,
    progress: &Progress,
    created: impl FnMut(Uuid),
) -> Published {
    let start = Instant::now();
    let mut load = Load {
        publisher: Publisher::new(connections, &plan.target, Uncertain::Count, stop, progress),
        payload: Payload::new(plan.payload_bytes),
        stop,
        start,
        end: plan.time_limit().map(|limit| start + limit),
        left: plan.total().unwrap_or(u64::MAX),
        created,
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
    /// Messages that remain to be created.
    left: u64,
    created: F,
}

impl<F: FnMut(Uuid)> Load<'_, F> {
    async fn bursts(&mut self, batch: u64, pause: &RangeInclusive<Duration>) -> Result<(), Failure> {
        loop {
            self.send(batch).await?;
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

    async fn evenly(&mut self, rate: Rate) -> Result<(), Failure> {
        let mut ticks = interval(rate.tick());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut sent = 0;
        loop {
            let due = rate.due(self.start.elapsed());
            self.send(due - sent).await?;
            sent = due;
            if self.is_over() {
                return Ok(());
            }
            self.publisher.wait(ticks.tick()).await?;
        }
    }

    /// Adds this many messages, or fewer if the end comes first. They may still wait in their lines when this returns.
    async fn send(&mut self, mut messages: u64) -> Result<(), Failure> {
        while messages > 0 && !self.is_over() && self.publisher.room(self.end).await? {
            let chunk = messages.min(self.left).min(CHUNK_MESSAGES as u64);
            let mut added = 0;
            while added < chunk && self.publisher.has_room() {
                let id = Uuid::new_v4();
                (self.created)(id);
                self.publisher.add(self.payload.with_id(id).to_vec())?;
                added += 1;
            }
            self.publisher.pump();
            messages -= added;
            self.left -= added;
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.left == 0 || self.stop.is_asked() || self.end.is_some_and(|end| Instant::now() >= end)
    }
}

fn random_within(range: &RangeInclusive<Duration>) -> Duration {
    let width = *range.end() - *range.start();
    range.start().saturating_add(width.mul_f64(fastrand::f64()))
}
