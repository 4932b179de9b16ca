//! What a group reports while it runs: log lines and their fields, hooks, state. All of it agrees with the ledger.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use redis_consumer_group::{DropCause, Failure, Gap, Record, Rejected, State};
use support::{LIMIT, Server, eventually, ids_of, settled};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// Every event of this process, with the name of its group.
static LOG: Mutex<Vec<Logged>> = Mutex::new(Vec::new());

#[derive(Debug, Clone)]
struct Logged {
    group: Option<String>,
    fields: BTreeMap<&'static str, String>,
}

struct Capture;

struct Name(String);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Capture {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(name) = fields.0.remove("group") {
            context.span(id).unwrap().extensions_mut().insert(Name(name));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut spans = context.event_scope(event).into_iter().flatten();
        let group = spans.find_map(|span| span.extensions().get::<Name>().map(|name| name.0.clone()));
        LOG.lock().unwrap().push(Logged { group, fields: fields.0 });
    }
}

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl Logged {
    fn message(&self) -> &str {
        &self.fields["message"]
    }

    fn number(&self, field: &str) -> f64 {
        self.fields[field].parse().unwrap()
    }
}

fn capture() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::registry().with(Capture);
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

/// The events of this kind that the group of this name has logged.
fn logged(group: &str, event: &str) -> Vec<Logged> {
    let log = LOG.lock().unwrap();
    let is_wanted = |logged: &&Logged| {
        logged.group.as_deref() == Some(group) && logged.fields.get("event").is_some_and(|is| is == event)
    };
    log.iter().filter(is_wanted).cloned().collect()
}

fn sum(group: &str, event: &str) -> u64 {
    logged(group, event).iter().map(|logged| logged.number("count") as u64).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_lines_and_hooks_about_drops_rejects_and_retries_add_up_to_the_ledger() {
    const NAME: &str = "sums";
    capture();
    let server = Server::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let dropped = Arc::new(AtomicU64::new(0));
    let rejected: Arc<Mutex<Vec<Rejected>>> = Arc::default();
    let (drops, rejects, waits) = (dropped.clone(), rejected.clone(), gate.clone());
    let group = server
        .group()
        .name(NAME)
        .consumers(2)
        .max_attempts(3)
        .buffer(64 << 10)
        .max_payload(8 << 10)
        .on_drop(move |dropped| {
            assert_eq!((&*dropped.channel, dropped.shard), ("messages:published", None));
            assert_eq!(dropped.cause, DropCause::BufferFull);
            drops.fetch_add(dropped.count, Ordering::Relaxed);
        })
        .on_reject(move |message| rejects.lock().unwrap().push(message.clone()))
        .processor(move |_, message| {
            let gate = waits.clone();
            async move {
                match message.payload().first() {
                    Some(b'r') => Err(Failure::reject("told to")),
                    Some(b'a') => Err(Failure::try_again("told to")),
                    _ => {
                        gate.acquire().await.unwrap().forget();
                        Ok(Record::new().field("length", message.payload().len().to_string()))
                    }
                }
            }
        })
        .start()
        .await
        .unwrap();
    for _ in 0..20 {
        server.publish_payload("reject").await;
        server.publish_payload("again").await;
    }
    let (handle, consumers) = (group.handle(), ids_of(&group));
    eventually(LIMIT, "some wait for another attempt", async || handle.figures().retries_waiting > 0).await;
    settled(&group, 40).await;
    assert_eq!(handle.figures().retries_waiting, 0);
    // Both consumers are busy, so further messages eventually find the buffer full.
    for _ in 0..50 {
        server.publish_payload("x".repeat(4 << 10)).await;
    }
    eventually(LIMIT, "the buffer is full", async || handle.figures().ledger.received == 90).await;
    assert!(handle.figures().buffer.percent() > 50.0, "{:?}", handle.figures().buffer);
    assert!(handle.figures().ledger.dropped > 10, "{}", handle.figures().ledger);
    // No further event is needed: the remaining drops are logged after some time.
    timeout(Duration::from_secs(5), async {
        let drops = || sum(NAME, "drop");
        while drops() < handle.figures().ledger.dropped {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap();
    gate.add_permits(1_000);
    // The stop logs these.
    for _ in 0..20 {
        server.publish_payload("reject").await;
    }
    eventually(LIMIT, "all is received", async || handle.figures().ledger.received == 110).await;
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.rejected, ledger.retried), (60, 40), "{ledger}");
    let sums = ["drop", "reject", "retry"].map(|event| sum(NAME, event));
    assert_eq!(sums, [ledger.dropped, ledger.rejected, ledger.retried], "{:#?}", logged(NAME, "reject"));
    assert_eq!(dropped.load(Ordering::Relaxed), ledger.dropped);
    let rejected = rejected.lock().unwrap();
    assert_eq!(rejected.len() as u64, ledger.rejected);
    let told = |payload: &[u8], reason: &str, attempts: u32| {
        let is_told = |message: &&Rejected| {
            message.payload() == payload && message.reason() == reason && message.attempts() == attempts
        };
        rejected.iter().filter(is_told).count()
    };
    assert_eq!(told(b"reject", "told to", 1), 40, "{rejected:?}");
    assert_eq!(told(b"again", "gave up after 3 attempts: told to", 3), 20, "{rejected:?}");
    let ids = &consumers;
    assert!(rejected.iter().all(|message| ids.contains(&message.consumer_id().to_owned())), "{rejected:?}");
    let reject = &logged(NAME, "reject")[0];
    assert_eq!(reject.fields["stream"], "messages:rejected");
    assert!(reject.message().contains("because \"told to\""), "{reject:?}");
    assert!(logged(NAME, "reject").len() < 10, "{:#?}", logged(NAME, "reject"));
    assert_eq!(logged(NAME, "end").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_state_the_figures_and_the_log_show_an_outage_from_beginning_to_end() {
    const NAME: &str = "outage";
    capture();
    let mut server = Server::start().await;
    let gaps: Arc<Mutex<Vec<Gap>>> = Arc::default();
    let told = gaps.clone();
    let hook = move |gap: &Gap| told.lock().unwrap().push(gap.clone());
    let group = server.group().name(NAME).on_gap(hook).start().await.unwrap();
    let (handle, mut state) = (group.handle().clone(), group.handle().watch());
    assert_eq!(*state.borrow_and_update(), State::Connected);
    assert_eq!(handle.figures().disconnected, Duration::ZERO);

    server.kill().unwrap();
    timeout(LIMIT, state.wait_for(|state| matches!(state, State::Disconnected { .. })))
        .await
        .unwrap()
        .unwrap();
    eventually(LIMIT, "attempts fail", async || {
        matches!(handle.state(), State::Disconnected { cause, .. } if cause.contains("cannot subscribe to messages:published: "))
    })
    .await;
    let before = handle.figures().ledger.gaps;
    assert_eq!(before.count, 1);
    sleep(Duration::from_millis(100)).await;
    let after = handle.figures().ledger.gaps;
    assert!(after.open > before.open && after.total > before.total, "{before:?} {after:?}");
    let down = handle.figures().disconnected;
    assert!(down > Duration::from_millis(100), "{down:?}");
    assert!(gaps.lock().unwrap().is_empty());

    server.restart().await.unwrap();
    timeout(LIMIT, state.wait_for(|state| *state == State::Connected)).await.unwrap().unwrap();
    let ledger = handle.figures().ledger;
    assert_eq!((ledger.gaps.count, ledger.gaps.open), (1, None));
    assert_eq!(ledger.gaps.latest, *gaps.lock().unwrap());
    let gap = &ledger.gaps.latest[0];
    assert_eq!((&*gap.channel, gap.shard), ("messages:published", None));
    let down = handle.figures().disconnected;
    sleep(Duration::from_millis(50)).await;
    assert_eq!(handle.figures().disconnected, down, "it is not disconnected any more");

    let events = ["outage_began", "outage_lasts", "gap", "outage_over"].map(|event| {
        let of_channel = |logged: &&Logged| {
            logged.fields.get("channel").is_some_and(|channel| channel == "messages:published")
        };
        logged(NAME, event).iter().filter(of_channel).count()
    });
    assert_eq!(events, [1, 0, 0, 1], "{:#?}", LOG.lock().unwrap());
    let over = &logged(NAME, "outage_over")[0];
    assert!(over.number("seconds") > 0.1 && over.number("gap_seconds") > 0.1, "{over:?}");
    assert_eq!((over.number("gaps"), over.number("dropped")), (1.0, 0.0));
    assert!(over.message().contains(" again after "), "{over:?}");
    assert!(over.message().contains("; gap of "), "{over:?}");
    assert!(over.message().ends_with("; messages published in the meantime were lost"), "{over:?}");

    handle.stop();
    assert_eq!(*state.borrow_and_update(), State::Draining);
    group.shutdown().await.unwrap();
    assert_eq!(*state.borrow_and_update(), State::Ended);
}

#[tokio::test]
async fn a_setting_without_effect_is_warned_about_by_the_name_of_its_field() {
    const NAME: &str = "no effect";
    capture();
    let server = Server::start().await;
    let group = server.group().name(NAME).group("workers").spill_max(5).start().await.unwrap();
    let warnings: Vec<_> =
        logged(NAME, "no_effect").iter().map(|logged| logged.message().to_owned()).collect();
    let expected = [
        "stream.group has no effect: it applies only to the source stream",
        "spill_max has no effect: messages go to the spill only where overflow is spill",
    ];
    assert_eq!(warnings, expected);
    group.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_memory_degrades_a_group_that_has_something_to_append() {
    const NAME: &str = "memory";
    capture();
    let server = Server::start().await;
    let group = server.group().name(NAME).start().await.unwrap();
    let handle = group.handle();
    server.run::<String>("CONFIG SET maxmemory 1").await;
    server.publish(1).await;
    eventually(LIMIT, "it cannot append", async || {
        matches!(handle.state(), State::Degraded { problem, cause, .. } if problem == "cannot append to messages:processed" && cause.starts_with("OOM "))
    })
    .await;
    let began = &logged(NAME, "outage_began")[0];
    assert_eq!(began.fields["stream"], "messages:processed");
    assert!(began.message().starts_with("cannot append to messages:processed (OOM "), "{began:?}");
    assert!(began.message().ends_with("); retrying"), "{began:?}");
    server.run::<String>("CONFIG SET maxmemory 0").await;
    eventually(LIMIT, "it appends", async || handle.state() == State::Connected).await;
    assert_eq!(handle.figures().disconnected, Duration::ZERO);
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.processed, ledger.gaps.count), (1, 0), "{ledger}");
    let over = logged(NAME, "outage_over");
    assert_eq!(over.len(), 1, "{over:?}");
    assert!(over[0].message().starts_with("appending to messages:processed again after "), "{over:?}");
    assert!(over[0].message().ends_with("; no message was missed or dropped"), "{over:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_with_older_data_is_told_with_what_is_lost() {
    const NAME: &str = "older";
    capture();
    let mut server = Server::start().await;
    let group = server.group().name(NAME).consumers(1).start().await.unwrap();
    let handle = group.handle();
    server.publish(1).await;
    eventually(LIMIT, "it is processed", async || handle.figures().ledger.processed == 1).await;
    server.run::<String>("SAVE").await;
    server.publish(1).await;
    eventually(LIMIT, "it is processed", async || handle.figures().ledger.processed == 2).await;
    server.kill().unwrap();
    server.restart().await.unwrap();
    // One is lost while nobody is subscribed; the next one shows what the server lacks.
    eventually(LIMIT, "it is processed", async || {
        server.publish(1).await;
        handle.figures().ledger.processed > 2
    })
    .await;
    group.shutdown().await.unwrap();
    let lost = logged(NAME, "data_lost");
    assert_eq!((lost.len(), logged(NAME, "lane_lost").len()), (1, 0), "{lost:?}");
    assert_eq!(
        lost[0].message(),
        "the server was restarted with older data: the records of the last commit to messages:processed that it had \
         confirmed are lost"
    );
    assert_eq!(lost[0].number("commits"), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_runs_until_a_future_completes_and_logs_under_its_own_name() {
    capture();
    let server = Server::start().await;
    let (first, second) =
        (server.group().name("first").output("out:1"), server.group().name("second").output("out:2"));
    let (first, second) = (first.start().await.unwrap(), second.start().await.unwrap());
    let handle = first.handle().clone();
    let done =
        async { eventually(LIMIT, "it is processed", async || handle.figures().ledger.processed == 1).await };
    server.publish(1).await;
    let ledger = timeout(LIMIT, first.run_until(done)).await.unwrap().unwrap();
    assert_eq!(ledger.to_string(), "received 1 = processed 1 + rejected 0 + dropped 0; no gaps");
    assert_eq!(handle.state(), State::Ended);
    assert_eq!((logged("first", "stop").len(), logged("second", "stop").len()), (1, 0));
    assert_eq!(logged("second", "start")[0].fields["output"], "out:2");
    second.shutdown().await.unwrap();
}
