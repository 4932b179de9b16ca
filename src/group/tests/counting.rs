//! The outcomes of messages, and how they are counted.

use super::*;
use crate::config::Overflow;

#[tokio::test(start_paused = true)]
async fn the_time_between_attempts_grows_and_the_last_one_rejects() {
    let attempts: Arc<Mutex<Vec<(u32, Instant)>>> = Arc::default();
    let setup = Setup::default();
    let noted = attempts.clone();
    let group = setup.start(move |_, message: Message| {
        noted.lock().unwrap().push((message.attempt(), Instant::now()));
        async { Err::<Record, _>(Failure::try_again("not yet")) }
    });
    group.publisher.publish(["a"]);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(group.counts(), (1, 0, 1, 0, 0));
    {
        let attempts = attempts.lock().unwrap();
        assert_eq!(attempts.iter().map(|(attempt, _)| *attempt).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        for (pair, least) in attempts.windows(2).zip([100, 400, 1600, 6400]) {
            let waited = (pair[1].1 - pair[0].1).as_millis();
            // The jitter is at most as long as the delay; the timer adds its own millisecond.
            assert!((least..=2 * least + 2).contains(&waited), "{waited} ms, at least {least}");
        }
    }
    assert_eq!(setup.rejected.values("error"), ["gave up after 5 attempts: not yet"]);
    group.stop().await.0.unwrap();
}

#[tokio::test(start_paused = true)]
async fn five_attempts_outlast_an_outage_of_minutes() {
    let (first, longest) = (Duration::from_secs(10), Duration::from_secs(120));
    let config = Config { retry_delay: first, retry_max_delay: longest, ..Setup::default().config };
    let setup = Setup { config, ..Setup::default() };
    let back = Instant::now() + Duration::from_secs(285);
    let group = setup.start(move |_: Consumer, message: Message| async move {
        if Instant::now() < back {
            return Err(Failure::try_again("the database is away"));
        }
        Ok(Record::new().field("attempt", message.attempt()))
    });
    group.publisher.publish(["a"]);
    sleep(Duration::from_secs(400)).await;
    assert_eq!(group.counts(), (1, 1, 0, 0, 0));
    assert_eq!(setup.lane.values("attempt"), ["5"]);
    group.stop().await.0.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_processor_says_when_to_try_again() {
    let attempts: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let setup = Setup { config: Config { max_attempts: 3, ..Setup::default().config }, ..Setup::default() };
    let noted = attempts.clone();
    let group = setup.start(move |_: Consumer, _: Message| {
        noted.lock().unwrap().push(Instant::now());
        async { Err::<Record, _>(Failure::try_after("too many requests", Duration::from_secs(90))) }
    });
    group.publisher.publish(["a"]);
    sleep(Duration::from_secs(200)).await;
    let waits: Vec<_> =
        attempts.lock().unwrap().windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert_eq!(waits, [90, 90]);
    assert_eq!(setup.rejected.values("error"), ["gave up after 3 attempts: too many requests"]);
    group.stop().await.0.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_ledger_adds_up_at_every_step() {
    let setup = Setup {
        config: Config { max_attempts: 2, ..Setup::default().config },
        lane: Lane::stuck(),
        rejected: Lane::stuck(),
        ..Setup::default()
    };
    let gate = Arc::new(Semaphore::new(0));
    let (held, obedient) = (gate.clone(), Arc::new(obedient()));
    let group = setup.start(move |consumer: Consumer, message: Message| {
        let (held, obedient) = (held.clone(), obedient.clone());
        async move {
            held.acquire().await.unwrap().forget();
            obedient.process(&consumer, message).await
        }
    });
    // received, processed, rejected, dropped, in flight
    group.publisher.publish(["keep", "skip", "again", "reject"]);
    settle().await;
    assert_eq!(group.counts(), (4, 0, 0, 0, 4));
    gate.add_permits(1);
    settle().await;
    assert_eq!(group.counts(), (4, 0, 0, 0, 4), "processed, but not yet committed");
    setup.lane.confirm();
    settle().await;
    assert_eq!(group.counts(), (4, 1, 0, 0, 3));
    gate.add_permits(1);
    settle().await;
    assert_eq!((group.counts(), group.ledger().skipped), ((4, 2, 0, 0, 2), 1));
    gate.add_permits(2);
    settle().await;
    assert_eq!(group.counts(), (4, 2, 0, 0, 2), "one is set aside, one not yet in its stream");
    setup.rejected.confirm();
    settle().await;
    assert_eq!(group.counts(), (4, 2, 1, 0, 1));
    gate.add_permits(1);
    sleep(Duration::from_secs(1)).await;
    setup.rejected.confirm();
    settle().await;
    assert_eq!(group.counts(), (4, 2, 2, 0, 0));
    assert_eq!(setup.rejected.values("payload"), ["reject", "again"]);

    group.publisher.publish(["keep", "keep"]);
    gate.add_permits(1);
    settle().await;
    group.shared.abort.cancel();
    let (end, ledger) = group.end().await;
    end.unwrap();
    assert_eq!((ledger.received, ledger.processed, ledger.skipped, ledger.rejected), (6, 2, 1, 2));
    assert_eq!((ledger.abandoned, ledger.in_flight()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn messages_that_find_the_buffer_full_are_dropped_and_the_rest_is_finished() {
    let config = Config { buffer: 64 << 10, max_payload: 1 << 10, ..Setup::default().config };
    let setup = Setup { config, ..Setup::default() };
    let group = setup.start(copy(Duration::from_secs(1)));
    for _ in 0..100 {
        group.publisher.publish(["x".repeat(1000)]);
    }
    settle().await;
    let ledger = group.ledger();
    assert_eq!(ledger.received, 100);
    assert!((36..=50).contains(&ledger.dropped), "{ledger}");
    sleep(Duration::from_secs(100)).await;
    assert_eq!(group.ledger().processed, 100 - ledger.dropped);
    group.publisher.publish(["y"]);
    let (end, ledger_after) = group.stop().await;
    end.unwrap();
    assert_eq!((ledger_after.received, ledger_after.dropped), (101, ledger.dropped));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_waits_for_room_is_received_and_in_flight() {
    for aborted in [false, true] {
        let config = Config {
            buffer: 64 << 10,
            max_payload: 1 << 10,
            overflow: Overflow::Wait,
            ..Setup::default().config
        };
        let setup = Setup { config, ..Setup::default() };
        let gate = Arc::new(Semaphore::new(0));
        let held = gate.clone();
        let group = setup.start(move |_, message: Message| {
            let held = held.clone();
            async move {
                held.acquire().await.unwrap().forget();
                Ok::<_, Failure>(Record::new().bytes("p", message.payload()))
            }
        });
        // Each of them fits, both together do not.
        group.publisher.publish(vec!["x".repeat(1000); 30]);
        group.publisher.publish(vec!["y".repeat(1000); 40]);
        settle().await;
        assert_eq!(group.counts(), (70, 0, 0, 0, 70));
        if aborted {
            group.shared.abort.cancel();
            let (end, ledger) = group.end().await;
            end.unwrap();
            assert_eq!((ledger.received, ledger.processed, ledger.abandoned), (70, 0, 70));
        } else {
            gate.add_permits(70);
            settle().await;
            assert_eq!(group.counts(), (70, 70, 0, 0, 0));
            group.stop().await.0.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_is_counted_in_the_last_second_from_when_its_commit_is_confirmed() {
    let setup = Setup { lane: Lane::stuck(), ..Setup::default() };
    let group = setup.start(copy(Duration::ZERO));
    let last_second = || group.shared.rate.last_second(group.shared.now());
    group.publisher.publish(["a", "b", "c"]);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(last_second(), 0);
    setup.lane.confirm();
    setup.lane.confirm();
    settle().await;
    assert_eq!(last_second(), 3);
    sleep(Duration::from_millis(995)).await;
    assert_eq!(last_second(), 3);
    sleep(Duration::from_millis(10)).await;
    assert_eq!(last_second(), 0);
    group.stop().await.0.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_set_aside_is_retried_by_its_own_consumer() {
    let config =
        Config { buffer: 64 << 10, max_payload: 1 << 10, max_attempts: 3, ..Setup::default().config };
    let setup = Setup { config, ..Setup::default() };
    let fail = |_, _| async { Err::<Record, _>(Failure::try_again("not yet")) };
    let group = setup.start(fail);
    // A batch that leaves no room for a copy of any of its messages until the last message is done.
    group.publisher.publish(std::iter::repeat_n("x".repeat(1000), 64));
    sleep(Duration::from_secs(300)).await;
    assert_eq!(group.counts(), (64, 0, 64, 0, 0));
    let (end, _) = group.stop().await;
    end.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_processor_that_waits_goes_on_while_there_is_no_room_for_what_its_consumer_made_before() {
    let setup = Setup { lane: Lane::stuck(), ..Setup::default() };
    let (done, is_done) = tokio::sync::oneshot::channel();
    let done = Arc::new(Mutex::new(Some(done)));
    let group = setup.start(move |_, message: Message| {
        let done = done.clone();
        async move {
            if message.payload() == b"waits" {
                sleep(Duration::from_millis(10)).await;
                done.lock().unwrap().take().unwrap().send(()).unwrap();
            }
            Ok::<_, Failure>(Record::new().field("f", "v"))
        }
    });
    // Four commits of 256 records fill the appender. The next claim has records that find no room, and the message that
    // waits.
    let payloads = (0..1100).map(|at| if at == 1026 { "waits" } else { "quick" });
    group.publisher.publish(payloads);
    timeout(Duration::from_secs(1), is_done).await.unwrap().unwrap();
    group.shared.abort.cancel();
    let (_, ledger) = group.end().await;
    assert_eq!((ledger.processed, ledger.abandoned), (0, 1100));
}
