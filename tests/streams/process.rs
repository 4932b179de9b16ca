//! Processes that share the entries of a stream: this binary, started again.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis_consumer_group::{ConsumerGroup, Failure, Message, Record, SourceKind};
use tokio::task::spawn_blocking;

use crate::fixture::LEASE;

/// Where the process finds its server.
const URL: &str = "RCG_STREAMS_SERVER";
/// The value of the field `message_id` that it does not survive.
const DEADLY: &str = "RCG_STREAMS_DEADLY";
/// How many milliseconds its processor takes.
const WORK: &str = "RCG_STREAMS_WORK";
/// How many consumers it has.
const CONSUMERS: &str = "RCG_STREAMS_CONSUMERS";

/// Not a test: one of the processes, when this binary is started by [`Process::start`]. It stops when its standard input
/// ends, and fails when it leaves anything undone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "is one of the processes that the tests start"]
async fn one_of_the_processes() {
    let number = |name| std::env::var(name).ok().map(|number| number.parse().unwrap());
    let work = Duration::from_millis(number(WORK).unwrap_or(1));
    let deadly = std::env::var(DEADLY).ok();
    let group = ConsumerGroup::builder(std::env::var(URL).unwrap())
        .source(SourceKind::Stream)
        .consumers(number(CONSUMERS).map_or(4, |consumers| consumers as usize))
        .lease(LEASE)
        .processor(move |consumer: redis_consumer_group::Consumer, message: Message| {
            let deadly = deadly.clone();
            async move {
                tokio::time::sleep(work).await;
                let (_, id) = message.fields().find(|(field, _)| *field == b"message_id").unwrap();
                if deadly.is_some_and(|deadly| deadly.as_bytes() == id) {
                    std::process::abort();
                }
                let record = Record::new().bytes("message_id", id).field("consumer_id", consumer.id());
                Ok::<_, Failure>(record.field("attempt", message.attempt().to_string()))
            }
        })
        .with_source_id(true)
        .start()
        .await
        .unwrap();
    spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await.unwrap().unwrap();
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.abandoned, ledger.in_flight()), (0, 0), "{ledger}");
}

/// A process with four consumers. Killed at the latest when this is dropped.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(url: &str) -> Self {
        Self::start_with(url, &[])
    }

    /// One that ends at once and without a word when it processes this message.
    pub(crate) fn that_dies_of(url: &str, message_id: &str) -> Self {
        // One consumer, so that nothing else is being processed when it dies.
        Self::start_with(url, &[(DEADLY, message_id), (CONSUMERS, "1")])
    }

    /// One whose processor takes so long.
    pub(crate) fn that_works_for(url: &str, work: Duration) -> Self {
        Self::start_with(url, &[(WORK, &work.as_millis().to_string())])
    }

    fn start_with(url: &str, settings: &[(&str, &str)]) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "process::one_of_the_processes"])
            .env(URL, url)
            .envs(settings.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Ends at once, and without a word.
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Stands still from now on.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    /// Goes on.
    pub(crate) fn wake(&self) {
        self.signal("CONT");
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    /// Has it stop, and waits until it has, with nothing left undone.
    pub(crate) async fn stop(mut self) {
        drop(self.0.stdin.take());
        let status = spawn_blocking(move || self.0.wait().unwrap()).await.unwrap();
        assert!(status.success(), "{status}");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.0.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // What has ended already has nothing left to be killed.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
