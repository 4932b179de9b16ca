//! A server, and what was published there.

use std::thread::{self, JoinHandle};
use std::time::Duration;

use redis_private_server::PrivateServer;

pub(crate) async fn server() -> PrivateServer {
    PrivateServer::builder().start().await.unwrap()
}

/// Reads the channel until the message `end`, on a thread. Returns the messages before it.
pub(crate) fn subscribe(server: &PrivateServer, channel: &'static str) -> JoinHandle<Vec<Vec<u8>>> {
    let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let (ready, subscribed) = std::sync::mpsc::channel();
    let reader = thread::spawn(move || {
        let mut subscription = connection.as_pubsub();
        subscription.subscribe(channel).unwrap();
        ready.send(()).unwrap();
        let mut payloads = Vec::new();
        loop {
            match subscription.get_message().unwrap().get_payload_bytes() {
                b"end" => return payloads,
                payload => payloads.push(payload.to_vec()),
            }
        }
    });
    subscribed.recv().unwrap();
    reader
}

/// Waits until this many messages were published, by the server's count of commands.
pub(crate) async fn published(server: &PrivateServer, messages: u64) {
    called(server, "publish", messages).await;
}

/// Waits until the server has executed this command this many times.
pub(crate) async fn called(server: &PrivateServer, command: &str, messages: u64) {
    let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let before = format!("cmdstat_{command}:calls=");
    loop {
        let stats: String = redis::cmd("INFO").arg("commandstats").query(&mut connection).unwrap();
        let calls = stats.split(&before).nth(1).and_then(|rest| rest.split(',').next());
        if calls.is_some_and(|calls| calls.parse::<u64>().unwrap() >= messages) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The fields and values of all entries of a stream.
pub(crate) fn entries(server: &PrivateServer, stream: &str) -> Vec<Vec<(String, String)>> {
    let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let entries: Vec<(String, Vec<(String, String)>)> =
        redis::cmd("XRANGE").arg(stream).arg("-").arg("+").query(&mut connection).unwrap();
    entries.into_iter().map(|(_, fields)| fields).collect()
}

pub(crate) fn end(server: &PrivateServer, channel: &str) {
    let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    redis::cmd("PUBLISH").arg(channel).arg("end").exec(&mut connection).unwrap();
}

/// The number in `Published N messages in …`.
pub(crate) fn number(stdout: &str) -> usize {
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    stdout.strip_prefix("Published ").and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap()
}
