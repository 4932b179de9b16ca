//! Processes that share the entries of a stream. Each runs this binary again.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis_consumer_group::{ConsumerGroup, Failure, Message, Record, SourceKind};
use tokio::task::spawn_blocking;

use crate::fixture::LEASE;

/// The variable with the URL of the process's server.
const URL: &str = "RCG_STREAMS_SERVER";
/// The variable with the `message_id` that kills the process.
const DEADLY: &str = "RCG_STREAMS_DEADLY";
/// The variable with the time that its processor takes, in milliseconds.
const WORK: &str = "RCG_STREAMS_WORK";
/// The variable with the number of its consumers.
const CONSUMERS: &str = "RCG_STREAMS_CONSUMERS";

/// Not a test: one of the processes, when [`Process::start`] starts this binary. It stops when its standard input is
/// closed, and fails if anything is unfinished.
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

/// A child process with four consumers. Killed at the latest when this is dropped.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(url: &str) -> Self {
        Self::start_with(url, &[])
    }

    /// Starts a process that ends at once and silently when it processes this message.
    pub(crate) fn that_dies_of(url: &str, message_id: &str) -> Self {
        // One consumer, so that it processes nothing else when it dies.
        Self::start_with(url, &[(DEADLY, message_id), (CONSUMERS, "1")])
    }

    /// Starts a process whose processor takes this long.
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

    /// Kills the process (SIGKILL).
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Suspends the process.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets the process continue.
    pub(crate) fn wake(&self) {
        self.signal("CONT");
    }

    /// Whether the process has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    /// Stops the process, waits until it has ended, and checks that nothing is unfinished.
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
        // The process may already have ended, so errors are ignored.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
