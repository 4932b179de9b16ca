//! How a group ends when it is told to.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_stop_finishes_everything_in_order() {
    let setup = Setup {
        config: Config { consumers: 2, ..Config::default() },
        lane: Lane::stuck(),
        farewell: Duration::from_millis(500),
        ..Setup::default()
    };
    let lane = setup.lane.clone();
    let group = setup.start(copy(Duration::from_millis(100)));
    group.publisher.publish(["a", "b", "c"]);
    settle().await;
    group.shared.stop.cancel();
    sleep(Duration::from_millis(300)).await;
    // The server has not yet confirmed the unsubscribe: messages that it still delivers count.
    group.publisher.publish(["d"]);
    assert_eq!(group.counts(), (3, 0, 0, 0, 3));
    sleep(Duration::from_millis(205)).await;
    assert_eq!(group.counts(), (4, 0, 0, 0, 4));
    assert!(!lane.is_closed());
    // The commit of the first two is in progress; the third and the fourth message wait for it.
    sleep(Duration::from_millis(200)).await;
    lane.confirm();
    settle().await;
    assert_eq!(group.counts(), (4, 2, 0, 0, 2));
    assert!(!lane.is_closed() && !group.end.is_finished());
    lane.confirm();
    settle().await;
    assert!(lane.is_closed() && setup.rejected.is_closed());
    let (end, ledger) = group.end().await;
    end.unwrap();
    assert_eq!((ledger.received, ledger.processed, ledger.abandoned), (4, 4, 0));
    let mut values = lane.values("p");
    values.sort();
    assert_eq!(values, ["a", "b", "c", "d"]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_hurries_what_was_set_aside() {
    let setup = Setup { config: Config { max_attempts: 20, ..Setup::default().config }, ..Setup::default() };
    let group = setup.start(obedient());
    group.publisher.publish(["again"]);
    sleep(Duration::from_secs(30)).await;
    let start = Instant::now();
    let (end, ledger) = group.stop().await;
    end.unwrap();
    assert_eq!((ledger.rejected, ledger.abandoned), (1, 0));
    // Up to 13 more attempts, each after at most 200 ms. Without the stop they would take minutes.
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_what_a_processor_asked_for() {
    let setup = Setup::default();
    let group = setup.start(|_: Consumer, _: Message| async {
        Err::<Record, _>(Failure::try_after("come back tomorrow", Duration::from_secs(86_400)))
    });
    group.publisher.publish(["a"]);
    sleep(Duration::from_secs(30)).await;
    let start = Instant::now();
    let (end, ledger) = group.stop().await;
    end.unwrap();
    assert_eq!((ledger.rejected, ledger.abandoned), (1, 0));
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn messages_not_finished_within_the_drain_timeout_are_abandoned() {
    let limit = Duration::from_secs(7);
    let config = Config { drain_timeout: limit, ..Setup::default().config };
    // In turn: the processor is stuck, the lane is stuck, the lane of rejected messages is stuck.
    for (processing, lane, rejected, done) in [
        (Duration::MAX, Lane::new(), Lane::new(), (0, 0)),
        (Duration::ZERO, Lane::stuck(), Lane::new(), (0, 1)),
        (Duration::ZERO, Lane::new(), Lane::stuck(), (2, 0)),
    ] {
        let setup = Setup { config: config.clone(), lane, rejected, ..Setup::default() };
        let group = setup.start(move |_, message: Message| async move {
            sleep(processing).await;
            match message.payload() {
                b"reject" => Err(Failure::reject("told to")),
                payload => Ok(Record::new().bytes("p", payload)),
            }
        });
        group.publisher.publish(["a", "b", "reject"]);
        settle().await;
        let start = Instant::now();
        let (end, ledger) = group.stop().await;
        end.unwrap();
        assert_eq!((ledger.processed, ledger.rejected), done);
        assert_eq!((ledger.received, ledger.abandoned), (3, 3 - done.0 - done.1));
        assert!(
            (limit..limit + Duration::from_millis(5)).contains(&start.elapsed()),
            "{:?}",
            start.elapsed()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_ends_at_once_also_in_the_middle_of_a_stop() {
    for stopped_before in [false, true] {
        let setup = Setup { farewell: Duration::from_secs(3), ..Setup::default() };
        let group = setup.start(copy(Duration::MAX));
        group.publisher.publish(["a", "b"]);
        settle().await;
        let start = Instant::now();
        if stopped_before {
            group.shared.stop.cancel();
            settle().await;
        }
        group.shared.abort.cancel();
        let (end, ledger) = group.end().await;
        end.unwrap();
        assert_eq!((ledger.received, ledger.processed, ledger.abandoned), (2, 0, 2));
        // Messages published before the server confirmed the unsubscribe were missed.
        assert_eq!(ledger.gaps.count, 1);
        assert!(start.elapsed() < Duration::from_millis(10), "{:?}", start.elapsed());
    }
}
