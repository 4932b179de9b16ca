//! Two processes share one list of ids, and one of them is killed.

use std::process::{Child, Command};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis_consumer_group::{ConsumerGroup, Failure, Record};
use redis_private_server::PrivateServer;
use tokio::time::Instant;

use crate::fixture::{Fixture, IDS, INPUT, OUTPUT, connect, eventually, within};
use crate::judge::{Witness, appended, judge};
use crate::load::Load;

/// The variable with the URL of the other process's server.
const URL: &str = "RCG_FAULTS_SERVER";
/// The variable with the time that its processor takes, in milliseconds.
const WORK: &str = "RCG_FAULTS_WORK";
const OTHER_INPUT: &str = "other:published";
const OTHER_OUTPUT: &str = "other:processed";

/// Not a test: the other process, when `start_the_other` starts this binary.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "is the other process of the tests below, which start it"]
async fn the_other_process() {
    let url = std::env::var(URL).unwrap();
    let work = Duration::from_millis(std::env::var(WORK).unwrap().parse().unwrap());
    let mut group = ConsumerGroup::builder(url)
        .consumers(2)
        .input(OTHER_INPUT)
        .output(OTHER_OUTPUT)
        .rejected("other:rejected")
        .processor(move |_, message: redis_consumer_group::Message| async move {
            if !work.is_zero() {
                tokio::time::sleep(work).await;
            }
            Ok::<_, Failure>(
                Record::new().field("message_id", crate::judge::id_of(message.payload()).to_string()),
            )
        })
        .start()
        .await
        .unwrap();
    group.join().await.unwrap();
}

/// The child process. Killed at the latest when the test ends.
struct Other(Child);

impl Other {
    fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.0.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn start_the_other(server: &PrivateServer) -> Other {
    start_the_other_with(server, Duration::ZERO)
}

fn start_the_other_with(server: &PrivateServer, work: Duration) -> Other {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "processes::the_other_process"])
        .env(URL, server.url())
        .env(WORK, work.as_millis().to_string())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    Other(child)
}

async fn ids(redis: &mut MultiplexedConnection) -> Vec<String> {
    redis::cmd("LRANGE").arg(IDS).arg(0).arg(-1).query_async(redis).await.unwrap()
}

async fn lanes_of_the_other(redis: &mut MultiplexedConnection) -> usize {
    redis::cmd("KEYS").arg("*other:*lane:*").query_async::<Vec<String>>(redis).await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_keeps_its_ids_and_messages_when_another_one_is_killed_under_load() {
    let server = PrivateServer::builder().start().await.unwrap();
    let other = start_the_other(&server);
    let fixture = Fixture::at(server, 2_000).await;
    let mut redis = fixture.redis().await;
    eventually("both have their ids in the list", async || ids(&mut redis).await.len() == 5).await;
    let load = Load::start(fixture.server.addr(), OTHER_INPUT, 2_000);
    eventually("the other process works", async || {
        let entries: u64 = redis::cmd("XLEN").arg(OTHER_OUTPUT).query_async(&mut redis).await.unwrap();
        entries > 1_000
    })
    .await;
    assert!(lanes_of_the_other(&mut redis).await > 0);

    drop(other);
    let killed = Instant::now();
    let ours: Vec<_> =
        fixture.group.handle().consumers().iter().map(|consumer| consumer.id().to_owned()).collect();
    within(Duration::from_secs(15), "the ids of the killed one are gone", async || {
        let ids = ids(&mut redis).await;
        assert!(ours.iter().all(|id| ids.contains(id)), "ours stay: {ids:?}");
        ids.len() == 3
    })
    .await;
    let remaining = Duration::from_secs(15) - killed.elapsed();
    within(remaining, "so are its lanes", async || lanes_of_the_other(&mut redis).await == 0).await;

    // Each of its records is in the output once.
    load.stop().await;
    let entries = appended(&mut redis, OTHER_OUTPUT).await;
    assert!(entries.values().all(|times| *times == 1));
    let (_, ledger) = fixture.end().await;
    assert_eq!((ledger.gaps.count, ledger.abandoned), (0, 0), "{ledger}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_process_removes_the_keys_of_a_killed_one_at_its_start() {
    let server = PrivateServer::builder().start().await.unwrap();
    let mut redis = connect(&server.url()).await;
    let other = start_the_other(&server);
    eventually("it has its ids in the list", async || ids(&mut redis).await.len() == 2).await;
    drop(other);
    let witness = Witness::default();
    let group = witness.beside(ConsumerGroup::builder(server.url())).start().await.unwrap();
    within(Duration::from_secs(15), "only the new ids are there", async || ids(&mut redis).await.len() == 3)
        .await;
    let load = Load::start(server.addr(), INPUT, 1_000);
    eventually("messages come in", async || witness.count() > 100).await;
    let published = load.stop().await;
    let ledger = group.shutdown().await.unwrap();
    judge(&published, &witness, &appended(&mut redis, OUTPUT).await, &ledger);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_suspended_until_its_lease_expired_continues_without_loss() {
    let server = PrivateServer::builder().start().await.unwrap();
    let other = start_the_other(&server);
    let fixture = Fixture::at(server, 500).await;
    let mut redis = fixture.redis().await;
    eventually("both have their ids in the list", async || ids(&mut redis).await.len() == 5).await;
    let load = Load::start(fixture.server.addr(), OTHER_INPUT, 2_000);
    eventually("it works", async || load.count() > 1_000).await;
    other.signal("STOP");
    within(Duration::from_secs(15), "it is taken for dead", async || ids(&mut redis).await.len() == 3).await;
    within(Duration::from_secs(3), "its lanes are gone", async || lanes_of_the_other(&mut redis).await == 0)
        .await;

    other.signal("CONT");
    eventually("its ids are back", async || ids(&mut redis).await.len() == 5).await;
    let published = load.stop().await;
    let all = published.len() as u64;
    eventually("it has appended everything", async || {
        redis::cmd("XLEN").arg(OTHER_OUTPUT).query_async::<u64>(&mut redis).await.unwrap() >= all
    })
    .await;
    let entries = appended(&mut redis, OTHER_OUTPUT).await;
    assert!(entries.values().all(|times| *times == 1), "twice");
    assert!(published.keys().all(|id| entries.contains_key(id)), "missing");
    drop(other);
    let Fixture { server: _server, group, witness, load } = fixture;
    let published = load.stop().await;
    let ledger = group.shutdown().await.unwrap();
    judge(&published, &witness, &appended(&mut redis, OUTPUT).await, &ledger);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_suspended_during_a_commit_reads_the_answer_before_it_gives_up() {
    let server = PrivateServer::builder().start().await.unwrap();
    let work = Duration::from_millis(200);
    let other = start_the_other_with(&server, work);
    let fixture = Fixture::at(server, 500).await;
    let mut redis = fixture.redis().await;
    eventually("both have their ids in the list", async || ids(&mut redis).await.len() == 5).await;
    let load = Load::start(fixture.server.addr(), OTHER_INPUT, 100);
    eventually("it has work for a while", async || load.count() >= 100).await;
    let published = load.stop().await;

    // Meanwhile both consumers finish, and their commits are on their way.
    fixture.server.freeze().unwrap();
    tokio::time::sleep(3 * work).await;
    other.signal("STOP");
    fixture.server.thaw().unwrap();
    within(Duration::from_secs(15), "it is taken for dead", async || ids(&mut redis).await.len() == 3).await;
    within(Duration::from_secs(3), "its lanes are gone", async || lanes_of_the_other(&mut redis).await == 0)
        .await;

    // All its timers have expired, and the answers have arrived.
    other.signal("CONT");
    within(Duration::from_secs(30), "it has appended everything", async || {
        let entries = appended(&mut redis, OTHER_OUTPUT).await;
        published.keys().all(|id| entries.contains_key(id))
    })
    .await;
    let entries = appended(&mut redis, OTHER_OUTPUT).await;
    assert!(entries.values().all(|times| *times == 1), "twice: {entries:?}");
    drop(other);
    let Fixture { server: _server, group, witness, load } = fixture;
    let published = load.stop().await;
    let ledger = group.shutdown().await.unwrap();
    judge(&published, &witness, &appended(&mut redis, OUTPUT).await, &ledger);
}
