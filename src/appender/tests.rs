//! How records become commits, on a paused clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::group::outbox::Outbox;
use crate::record::Record;

/// A slow lane that notes the sizes of its commits, and fails after the given number of them.
struct Slow(Arc<Mutex<Vec<usize>>>, Option<usize>);

/// A slow lane that notes the size of each commit and of the next one: 0 if it was not told of one.
struct Foresighted(Arc<Mutex<Vec<[usize; 2]>>>);

impl Lane for Foresighted {
    fn form(&self) -> Form {
        Form::default()
    }

    async fn commit(&mut self, records: &Records, next: Option<&Records>) -> Result<Settled, Error> {
        tokio::time::sleep(Duration::from_millis(10)).await;
        self.0.lock().unwrap().push([records.len(), next.map_or(0, Records::len)]);
        Ok(Settled::Committed)
    }

    async fn close(&mut self) {}
}

impl Lane for Slow {
    fn form(&self) -> Form {
        Form::default()
    }

    async fn commit(&mut self, records: &Records, _: Option<&Records>) -> Result<Settled, Error> {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let mut sizes = self.0.lock().unwrap();
        if self.1 == Some(sizes.len()) {
            return Err(Error::Config { option: "output", problem: "broken".into() });
        }
        sizes.push(records.len());
        Ok(Settled::Committed)
    }

    async fn close(&mut self) {}
}

async fn append(outbox: &mut Outbox) {
    put(outbox, Urgency::Now).await;
}

async fn put(outbox: &mut Outbox, urgency: Urgency) {
    outbox.put(&[Record::new().field("f", "v")], None).await;
    outbox.hand_on(urgency).await;
}

#[tokio::test(start_paused = true)]
async fn a_lone_message_is_committed_at_once_and_what_comes_meanwhile_goes_together() {
    let (appender, sizes, settled) =
        (Arc::new(Appender::new(Form::default())), Arc::default(), Arc::new(AtomicU64::new(0)));
    let lane = Slow(Arc::clone(&sizes), None);
    let run = tokio::spawn({
        let (appender, settled) = (appender.clone(), settled.clone());
        async move {
            let settle = |records: &Records, _| {
                settled.fetch_add(records.messages(), Ordering::Relaxed);
            };
            appender.run(lane, Turn::First, settle).await
        }
    });
    let mut outbox = Outbox::new(&appender);
    append(&mut outbox).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    for _ in 0..300 {
        append(&mut outbox).await;
    }
    appender.close();
    run.await.unwrap().unwrap();
    assert_eq!(*sizes.lock().unwrap(), [1, 256, 44]);
    assert_eq!(settled.load(Ordering::Relaxed), 301);
}

#[tokio::test(start_paused = true)]
async fn consumers_wait_while_the_lane_is_behind() {
    let appender = Arc::new(Appender::new(Form::default()));
    let mut outbox = Outbox::new(&appender);
    for _ in 0..4 * 256 {
        append(&mut outbox).await;
    }
    let waiting = tokio::spawn(async move { append(&mut outbox).await });
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert!(!waiting.is_finished());
    let lane = Slow(Arc::default(), None);
    let run = tokio::spawn({
        let appender = appender.clone();
        async move { appender.run(lane, Turn::First, |_, _| ()).await }
    });
    waiting.await.unwrap();
    appender.close();
    run.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_failed_keeps_no_consumer_waiting() {
    let appender = Arc::new(Appender::new(Form::default()));
    let lane = Slow(Arc::default(), Some(1));
    let run = tokio::spawn({
        let appender = appender.clone();
        async move { appender.run(lane, Turn::First, |_, _| ()).await }
    });
    let mut outbox = Outbox::new(&appender);
    for _ in 0..10_000 {
        append(&mut outbox).await;
    }
    assert!(run.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn records_that_are_handed_on_together_go_into_one_commit() {
    let (appender, sizes) = (Arc::new(Appender::new(Form::default())), Arc::default());
    let mut outbox = Outbox::new(&appender);
    for _ in 0..3 {
        for _ in 0..100 {
            outbox.put(&[Record::new().field("f", "v")], None).await;
        }
        outbox.hand_on(Urgency::Now).await;
    }
    appender.close();
    appender.run(Slow(Arc::clone(&sizes), None), Turn::First, |_, _| ()).await.unwrap();
    assert_eq!(*sizes.lock().unwrap(), [200, 100]);
}

#[tokio::test(start_paused = true)]
async fn the_second_lane_helps_only_when_there_is_more_than_one_commit() {
    let appender = Arc::new(Appender::new(Form::default()));
    let [first, second]: [Arc<Mutex<Vec<usize>>>; 2] = Default::default();
    let lanes = [(Turn::First, &first), (Turn::Second, &second)].map(|(turn, sizes)| {
        let (appender, lane) = (appender.clone(), Slow(Arc::clone(sizes), None));
        tokio::spawn(async move { appender.run(lane, turn, |_, _| ()).await })
    });
    let mut outbox = Outbox::new(&appender);
    for records in [1, 100, 600] {
        for _ in 0..records {
            append(&mut outbox).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    appender.close();
    for lane in lanes {
        lane.await.unwrap().unwrap();
    }
    assert_eq!(*first.lock().unwrap(), [1, 100, 256, 88]);
    assert_eq!(*second.lock().unwrap(), [256]);
}

#[tokio::test(start_paused = true)]
async fn a_lane_is_told_of_the_commit_that_comes_next_once_nothing_more_goes_into_it() {
    let (appender, sizes) = (Arc::new(Appender::new(Form::default())), Arc::default());
    let lane = Foresighted(Arc::clone(&sizes));
    let run = tokio::spawn({
        let appender = appender.clone();
        async move { appender.run(lane, Turn::First, |_, _| ()).await }
    });
    let mut outbox = Outbox::new(&appender);
    for records in [1, 300, 600] {
        for _ in 0..records {
            append(&mut outbox).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    appender.close();
    run.await.unwrap().unwrap();
    let expected = [[1, 0], [256, 0], [44, 0], [256, 256], [256, 0], [88, 0]];
    assert_eq!(*sizes.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn records_that_nobody_waits_for_fill_a_commit_for_a_moment() {
    let (appender, sizes) = (Arc::new(Appender::new(Form::default())), Arc::default());
    let lane = Slow(Arc::clone(&sizes), None);
    let run = tokio::spawn({
        let appender = appender.clone();
        async move { appender.run(lane, Turn::First, |_, _| ()).await }
    });
    let [mut busy, mut other] = [Outbox::new(&appender), Outbox::new(&appender)];
    let committed_within = async |millis| {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        std::mem::take(&mut *sizes.lock().unwrap())
    };
    // A commit takes 10 ms. The consumer has more messages until the third record.
    for urgency in [Urgency::Soon, Urgency::Soon, Urgency::Now] {
        put(&mut busy, urgency).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(committed_within(11).await, [3]);
    // The consumer is busy for a long time.
    put(&mut busy, Urgency::Soon).await;
    assert_eq!(committed_within(10).await, [0; 0]);
    assert_eq!(committed_within(3).await, [1]);
    // The consumer has no more messages, and no more records to hand on.
    put(&mut busy, Urgency::Soon).await;
    put(&mut other, Urgency::Soon).await;
    busy.hand_on(Urgency::Now).await;
    assert_eq!(committed_within(11).await, [2]);
    appender.close();
    run.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_commits_of_one_message_are_made_in_order_by_the_first_lane() {
    let appender = Arc::new(Appender::new(Form::default()));
    let [first, second]: [Arc<Mutex<Vec<usize>>>; 2] = Default::default();
    let lanes = [(Turn::First, &first), (Turn::Second, &second)].map(|(turn, sizes)| {
        let (appender, lane) = (appender.clone(), Slow(Arc::clone(sizes), None));
        tokio::spawn(async move { appender.run(lane, turn, |_, _| ()).await })
    });
    let mut outbox = Outbox::new(&appender);
    let many: Vec<_> = (0..600).map(|_| Record::new().field("f", "v")).collect();
    outbox.put(&many, None).await;
    outbox.hand_on(Urgency::Now).await;
    appender.close();
    for lane in lanes {
        lane.await.unwrap().unwrap();
    }
    assert_eq!(*first.lock().unwrap(), [256, 256, 88]);
    assert_eq!(*second.lock().unwrap(), [0; 0]);
}
