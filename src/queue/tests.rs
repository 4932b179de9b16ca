use std::collections::HashSet;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use super::*;
use crate::message::tests::batch;

fn text(message: &Message) -> String {
    String::from_utf8(message.payload().to_vec()).unwrap()
}

#[tokio::test]
async fn one_receiver_gets_everything_in_order() {
    let queue = Queue::new();
    queue.push(batch(&["1", "2"]));
    queue.push(batch(&["3"]));
    queue.push(batch(&["4", "5", "6"]));
    queue.close();
    let mut receiver = queue.receiver();
    let mut order = String::new();
    while let Some(message) = receiver.next(1).await {
        order += &text(&message);
    }
    assert_eq!(order, "123456");
}

#[tokio::test(start_paused = true)]
async fn no_consumer_is_idle_while_messages_wait() {
    let queue = Queue::new();
    let receivers: Vec<_> = (0..4)
        .map(|_| {
            let mut receiver = queue.receiver();
            tokio::spawn(async move {
                while receiver.next(1).await.is_some() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            })
        })
        .collect();
    tokio::task::yield_now().await;
    let start = tokio::time::Instant::now();
    queue.push(batch(&["1", "2", "3", "4", "5"]));
    queue.push(batch(&["6", "7", "8"]));
    queue.close();
    for receiver in receivers {
        receiver.await.unwrap();
    }
    assert_eq!(start.elapsed(), Duration::from_millis(200));
}

/// A source must not fetch a message for a consumer that has just got one: another process may be idle.
#[test]
fn a_consumer_that_takes_a_message_is_not_seen_as_idle() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let queue = Queue::new();
    let (works, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let consumer = thread::spawn({
        let (mut receiver, works, done) = (queue.receiver(), works.clone(), done.clone());
        move || {
            runtime().block_on(async {
                while receiver.next(1).await.is_some() {
                    works.store(true, Ordering::SeqCst);
                    // Until the source has looked at the demand.
                    while !done.swap(false, Ordering::SeqCst) {
                        std::hint::spin_loop();
                    }
                    works.store(false, Ordering::SeqCst);
                }
            });
        }
    });
    runtime().block_on(async {
        for _ in 0..20_000 {
            let demand = queue.runs_low(None).await;
            assert_eq!((demand.idle, demand.waiting), (1, 0));
            queue.push(batch(&["1"]));
            let mut again = pin!(queue.runs_low(None));
            while !works.load(Ordering::SeqCst) {
                assert!(now(again.as_mut()).is_none(), "the consumer is busy");
            }
            assert!(now(again.as_mut()).is_none(), "the consumer is busy");
            done.store(true, Ordering::SeqCst);
        }
    });
    queue.close();
    consumer.join().unwrap();
}

/// The future's output, if it is ready now.
fn now<F: Future>(future: Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_not_drained_before_what_was_set_aside_came_back() {
    let queue = Queue::new();
    queue.set_aside();
    queue.close();
    let receivers: Vec<_> = (0..3)
        .map(|_| {
            let mut receiver = queue.receiver();
            tokio::spawn(async move {
                let mut taken = 0;
                while receiver.next(1).await.is_some() {
                    taken += 1;
                }
                taken
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(receivers.iter().all(|receiver| !receiver.is_finished()));
    queue.push_again(batch(&["again"]));
    let mut taken = 0;
    for receiver in receivers {
        taken += receiver.await.unwrap();
    }
    assert_eq!(taken, 1);
}

#[tokio::test]
async fn a_batch_is_freed_with_its_last_message() {
    let queue = Queue::new();
    let batch = batch(&["1", "2"]);
    let watch = Arc::downgrade(&batch);
    queue.push(batch);
    let mut receiver = queue.receiver();
    let mut other = queue.receiver();
    drop(receiver.next(1).await);
    drop(other.next(1).await);
    assert!(watch.upgrade().is_none());
}

#[tokio::test]
async fn messages_that_are_given_back_go_to_others_before_later_ones() {
    let queue = Queue::new();
    queue.push(batch(&["1", "2", "3", "4"]));
    queue.push(batch(&["5"]));
    queue.close();
    let (mut quick, mut other) = (queue.receiver(), queue.receiver());
    assert_eq!(text(&quick.next(3).await.unwrap()), "1");
    assert!(quick.has_claimed());
    quick.give_back();
    let mut order = String::new();
    while let Some(message) = other.next(2).await {
        order += &text(&message);
    }
    assert_eq!(order, "2345");
    assert!(quick.next(1).await.is_none());
}

#[tokio::test]
async fn messages_claimed_by_a_consumer_that_died_go_to_others() {
    let queue = Queue::new();
    queue.push(batch(&["1", "2"]));
    queue.close();
    let mut dying = queue.receiver();
    dying.next(2).await.unwrap();
    drop(dying);
    let mut other = queue.receiver();
    assert_eq!(text(&other.next(1).await.unwrap()), "2");
    assert!(other.next(1).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_not_drained_while_a_claim_may_be_given_back() {
    let queue = Queue::new();
    queue.push(batch(&["1", "2"]));
    queue.close();
    let (mut quick, mut other) = (queue.receiver(), queue.receiver());
    quick.next(2).await.unwrap();
    let other = tokio::spawn(async move { other.next(1).await.map(|message| text(&message)) });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!other.is_finished());
    quick.give_back();
    assert_eq!(other.await.unwrap().as_deref(), Some("2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_contention_each_message_is_handed_out_once() {
    let queue = Queue::new();
    let receivers: Vec<_> = (0..8)
        .map(|most| {
            let mut receiver = queue.receiver();
            tokio::spawn(async move {
                let mut mine = Vec::new();
                while let Some(message) = receiver.next(1 + most).await {
                    mine.push(text(&message));
                    if mine.len() % 5 == 0 {
                        receiver.give_back();
                    }
                    tokio::task::coop::consume_budget().await;
                }
                mine
            })
        })
        .collect();
    for round in 0..2_000 {
        let payloads: Vec<_> = (0..round % 7 + 1).map(|n| format!("{round}-{n}")).collect();
        queue.push(batch(&payloads.iter().map(String::as_str).collect::<Vec<_>>()));
        if round % 16 == 0 {
            tokio::task::yield_now().await;
        }
    }
    queue.close();
    let mut all = Vec::new();
    for receiver in receivers {
        all.extend(tokio::time::timeout(Duration::from_secs(20), receiver).await.unwrap().unwrap());
    }
    let published: usize = (0..2_000).map(|round| round % 7 + 1).sum();
    assert_eq!(all.len(), published);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), published);
}
