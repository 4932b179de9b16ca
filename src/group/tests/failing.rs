//! How a group ends after a permanent failure.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_lane_that_fails_for_good_ends_the_group_with_its_error_and_the_rejected_ones_are_finished() {
    let setup = Setup::default();
    let group = setup.start(obedient());
    setup.lane.break_down();
    group.publisher.publish(["reject", "keep", "reject"]);
    let start = Instant::now();
    let (end, ledger) = group.end().await;
    assert_eq!(end.unwrap_err().to_string(), "output: the lane is broken");
    assert_eq!((ledger.received, ledger.rejected, ledger.abandoned), (3, 2, 1));
    assert_eq!(setup.lane.values("p"), [""; 0]);
    assert!(setup.rejected.is_closed());
    assert!(start.elapsed() < Duration::from_millis(100), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_lane_of_rejected_messages_that_fails_ends_the_group_too() {
    let setup = Setup::default();
    let group = setup.start(obedient());
    setup.rejected.break_down();
    group.publisher.publish(["keep", "reject", "keep"]);
    let (end, ledger) = group.end().await;
    assert_eq!(end.unwrap_err().to_string(), "output: the lane is broken");
    assert_eq!((ledger.received, ledger.processed, ledger.abandoned), (3, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_ends_the_group_and_what_it_delivered_is_finished() {
    let setup = Setup::default();
    let group = setup.start(copy(Duration::from_secs(1)));
    group.publisher.publish(["a", "b"]);
    group.publisher.fail(broken("the source"));
    let (end, ledger) = group.end().await;
    assert_eq!(end.unwrap_err().to_string(), "test: the source is broken");
    assert_eq!((ledger.received, ledger.processed, ledger.abandoned), (2, 2, 0));
    assert_eq!(setup.lane.values("p"), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn renewals_that_fail_end_the_group_and_what_was_received_is_finished() {
    let setup = Setup { renewals_fail_after: Some(Duration::from_millis(1500)), ..Setup::default() };
    let group = setup.start(copy(Duration::from_secs(1)));
    group.publisher.publish(["a", "b", "c"]);
    let (end, ledger) = group.end().await;
    assert_eq!(end.unwrap_err().to_string(), "test: the lease is broken");
    assert_eq!((ledger.received, ledger.processed, ledger.abandoned), (3, 3, 0));
}

#[tokio::test(start_paused = true)]
async fn of_several_failures_the_first_one_is_told() {
    let setup = Setup { renewals_fail_after: Some(Duration::from_millis(500)), ..Setup::default() };
    let group = setup.start(copy(Duration::from_secs(1)));
    group.publisher.publish(["a"]);
    settle().await;
    setup.lane.break_down();
    let (end, ledger) = group.end().await;
    assert_eq!(end.unwrap_err().to_string(), "test: the lease is broken");
    assert_eq!(ledger.abandoned, 1);
}

#[tokio::test(start_paused = true)]
async fn a_processor_that_panics_while_it_is_given_up_costs_its_message_and_no_consumer() {
    struct Guard;

    impl Drop for Guard {
        fn drop(&mut self) {
            panic!("in the middle of giving up");
        }
    }

    let limit = Some(Duration::from_secs(1));
    let config = Config { processor_timeout: limit, max_attempts: 1, ..Setup::default().config };
    let setup = Setup { config, ..Setup::default() };
    let group = setup.start(|_, message: Message| async move {
        if message.payload() == b"stuck" {
            let _guard = Guard;
            pending::<()>().await;
        }
        Ok::<_, Failure>(Record::new().bytes("p", message.payload()))
    });
    group.publisher.publish(["stuck", "a", "stuck", "b"]);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(group.counts(), (4, 2, 2, 0, 0));
    assert_eq!(setup.lane.values("p"), ["a", "b"]);
    assert_eq!(setup.rejected.values("payload"), ["stuck", "stuck"]);
    group.stop().await.0.unwrap();
}

#[tokio::test]
async fn a_group_whose_consumers_runtime_is_shut_down_ends_with_an_error() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let setup = Setup { workers: Some(runtime.handle().clone()), ..Setup::default() };
    let group = setup.start(copy(Duration::ZERO));
    group.publisher.publish(["a"]);
    let processed = async {
        while group.ledger().processed == 0 {
            settle().await;
        }
    };
    timeout(Duration::from_secs(10), processed).await.unwrap();
    runtime.shutdown_background();
    let (end, ledger) = timeout(Duration::from_secs(10), group.end()).await.expect("it goes on without them");
    assert!(matches!(end, Err(Error::System { .. })), "{end:?}");
    assert_eq!((ledger.received, ledger.processed), (1, 1));
}
