//! Commits that break at any byte, in both directions, and commits that arrive late: each is appended once.

use std::collections::HashMap;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis_consumer_group::{ConsumerGroup, Failure, Message, Record};
use redis_private_server::PrivateServer;

use crate::fixture::{INPUT, OUTPUT, connect, eventually, order, within};
use crate::judge::{appended, in_order};
use crate::proxy::{Fault, Proxy, When, Whose};

/// A group behind a proxy. Each message becomes three records, so each commit has three.
struct Behind {
    server: PrivateServer,
    proxy: Proxy,
    group: ConsumerGroup,
    redis: MultiplexedConnection,
    sent: u64,
}

impl Behind {
    async fn start() -> Self {
        let server = PrivateServer::builder().start().await.unwrap();
        let proxy = Proxy::before(server.addr()).await;
        let group = ConsumerGroup::builder(proxy.url())
            .consumers(1)
            .processor(|_, message: Message| async move {
                let first = 3 * crate::judge::id_of(message.payload());
                let record = |id: u64| Record::new().field("message_id", format!("{id:06}"));
                Ok::<_, Failure>((first..first + 3).map(record).collect::<Vec<_>>())
            })
            .start()
            .await
            .unwrap();
        let redis = connect(&server.url()).await;
        Self { server, proxy, group, redis, sent: 0 }
    }

    /// Publishes one message, and waits until its records are in the output.
    async fn commit(&mut self) {
        order(&mut self.redis, &format!("PUBLISH {INPUT} {}", self.sent)).await;
        self.sent += 1;
        let (mut redis, sent) = (self.redis.clone(), self.sent);
        let ledger = || self.group.ledger();
        eventually("the message is processed", async || ledger().processed == sent).await;
        // More entries would be duplicates.
        assert_eq!(order(&mut redis, &format!("XLEN {OUTPUT}")).await, redis::Value::Int(3 * sent as i64));
    }

    /// Makes a commit that this fault interrupts.
    async fn commit_with(&mut self, fault: Fault) {
        self.proxy.arm(fault);
        self.commit().await;
        if let Fault::Late(..) = fault
            && !self.proxy.is_done()
        {
            // The commit was executed although its connection broke, so only the next commit delivers the late bytes.
            self.commit().await;
        }
        let proxy = &self.proxy;
        within(Duration::from_secs(5), &format!("{fault:?} happens"), async || proxy.is_done()).await;
        let entries = order(&mut self.redis, &format!("XLEN {OUTPUT}")).await;
        assert_eq!(entries, redis::Value::Int(3 * self.sent as i64), "after {fault:?}");
    }

    /// Returns the length of a commit and of its answer. Numbers of equal length make commits of equal length.
    async fn measure(&mut self) -> (usize, usize) {
        while self.sent < 10 {
            self.commit().await;
        }
        self.proxy.last_commit()
    }

    async fn end(mut self) {
        let ledger = self.group.shutdown().await.unwrap();
        assert_eq!((ledger.received, ledger.processed, ledger.gaps.count), (self.sent, self.sent, 0));
        let entries = appended(&mut self.redis, OUTPUT).await;
        let expected: HashMap<u64, u32> = (0..3 * self.sent).map(|id| (id, 1)).collect();
        assert_eq!(entries, expected);
        drop(self.server);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_cut_after_any_of_its_bytes_is_executed_once() {
    let mut behind = Behind::start().await;
    let (commit, _) = behind.measure().await;
    for after in (0..=commit).step_by(3).chain(commit - 30..=commit) {
        behind.commit_with(Fault::CutCommit(after)).await;
    }
    behind.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_cut_after_any_byte_is_executed_once() {
    let mut behind = Behind::start().await;
    let (_, answer) = behind.measure().await;
    assert!(answer > 50, "{answer} bytes of an answer");
    for after in 0..=answer {
        behind.commit_with(Fault::CutAnswer(after)).await;
    }
    behind.end().await;
}

/// Breaks commits after each possible number of bytes, and delivers the rest of each later. Returns how many arrived
/// late, and how many of these the fence made fail.
async fn late_at_any_byte(when: When) -> (usize, usize) {
    let mut behind = Behind::start().await;
    let (commit, _) = behind.measure().await;
    let mut late = 0;
    for after in (0..commit).step_by(4) {
        behind.commit_with(Fault::Late(after, when)).await;
        late += 1;
    }
    let answers = behind.proxy.late_answers();
    assert_eq!(answers.len(), late);
    let fenced = answers.iter().filter(|answer| answer.windows(5).any(|window| window == b"*-1\r\n")).count();
    behind.end().await;
    (late, fenced)
}

/// The end of a commit, `EXEC` and `WATCH lane`, is about a fifth of it. A commit that breaks in `WATCH` was executed.
fn most_of(late: usize) -> usize {
    late * 3 / 5
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_arrives_late_but_before_the_fence_is_found_and_not_repeated() {
    let (late, fenced) = late_at_any_byte(When::BeforeTheFence).await;
    assert!(late > 50, "{late}");
    assert_eq!(fenced, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_arrives_after_the_fence_does_nothing() {
    let (late, fenced) = late_at_any_byte(When::AfterTheFence).await;
    assert!(fenced >= most_of(late), "{fenced} of {late}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_arrives_after_it_was_repeated_does_nothing() {
    let (late, fenced) = late_at_any_byte(When::AfterTheCommit).await;
    assert!(fenced >= most_of(late), "{fenced} of {late}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_commit_of_a_group_does_nothing_if_it_arrives_after_it_was_repeated() {
    let mut behind = Behind::start().await;
    behind.commit_with(Fault::Late(0, When::AfterTheCommit)).await;
    behind.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_lane_is_given_up_and_its_last_commit_does_nothing_if_it_arrives_late() {
    let mut behind = Behind::start().await;
    behind.commit().await;
    // Both lanes: the output's lane and the lane for rejected messages.
    assert_eq!(behind.proxy.hold(Whose::Lane), 2);
    behind.commit().await;
    behind.commit().await;
    assert_eq!(behind.proxy.release(Whose::Lane), 2);
    let proxy = &behind.proxy;
    eventually("the server has seen what was held", async || proxy.late_answers().len() == 1).await;
    let answers = behind.proxy.late_answers();
    assert!(
        answers[0].windows(5).any(|window| window == b"*-1\r\n"),
        "{:?}",
        String::from_utf8_lossy(&answers[0])
    );
    behind.end().await;
}

/// While commits wait, the server has the commands of the next commit before it answers the current one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_consumer_keeps_the_order_while_commits_are_refused_and_their_connections_are_cut() {
    const ROUNDS: u64 = 120;
    const EACH: u64 = 3_000;
    let server = PrivateServer::builder().start().await.unwrap();
    let group = ConsumerGroup::builder(server.url())
        .consumers(1)
        .processor(|_, message: Message| async move {
            Ok::<_, Failure>(Record::new().bytes("message_id", message.payload()))
        })
        .start()
        .await
        .unwrap();
    let mut redis = connect(&server.url()).await;
    let mut publisher = connect(&server.url()).await;
    for round in 0..ROUNDS {
        let mut messages = redis::pipe();
        for id in round * EACH..(round + 1) * EACH {
            messages.cmd("PUBLISH").arg(INPUT).arg(id).ignore();
        }
        let trouble = async {
            // Hits different moments of a commit.
            tokio::time::sleep(Duration::from_micros(500 * (round % 13))).await;
            match round % 3 {
                0 => flicker(&mut redis).await,
                1 => cut_the_lanes(&mut redis).await,
                _ => {}
            }
        };
        let (published, ()) = tokio::join!(messages.exec_async(&mut publisher), trouble);
        published.unwrap();
    }
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.received, ledger.processed), (ROUNDS * EACH, ROUNDS * EACH), "{ledger}");
    let entries = in_order(&mut redis, OUTPUT).await;
    assert!(entries.iter().copied().eq(0..ROUNDS * EACH), "out of order");
}

/// Makes the server run out of memory repeatedly, each time for less time than two commits take.
async fn flicker(redis: &mut MultiplexedConnection) {
    for _ in 0..20 {
        order(redis, "CONFIG SET maxmemory 1").await;
        order(redis, "CONFIG SET maxmemory 0").await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn cut_the_lanes(redis: &mut MultiplexedConnection) {
    let clients: String = redis::cmd("CLIENT").arg("LIST").query_async(redis).await.unwrap();
    for client in clients.lines().filter(|client| client.contains(" name=redis-consumer-group:lane ")) {
        let id = client.split(' ').next().and_then(|id| id.strip_prefix("id=")).unwrap();
        order(redis, &format!("CLIENT KILL ID {id}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipelined_commit_may_be_repeated_but_loses_nothing() {
    let server = PrivateServer::builder().start().await.unwrap();
    let proxy = Proxy::before(server.addr()).await;
    let group = ConsumerGroup::builder(proxy.url())
        .consumers(1)
        .commit(redis_consumer_group::Commit::AtLeastOnce)
        .processor(|_, message: Message| async move {
            Ok::<_, Failure>(Record::new().bytes("message_id", message.payload()))
        })
        .start()
        .await
        .unwrap();
    let mut redis = connect(&server.url()).await;
    for id in 0..40 {
        proxy.arm(Fault::CutAnswer(id));
        order(&mut redis, &format!("PUBLISH {INPUT} {id}")).await;
        let processed = id as u64 + 1;
        eventually("the message is processed", async || group.ledger().processed == processed).await;
        if !proxy.is_done() {
            break;
        }
    }
    let processed = group.shutdown().await.unwrap().processed;
    let entries = appended(&mut redis, OUTPUT).await;
    assert_eq!(entries.len() as u64, processed);
    assert!(processed > 10 && entries.values().any(|times| *times == 2), "{entries:?}");
}
