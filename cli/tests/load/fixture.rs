//! `load`, and what it published at a server.

use std::thread::{self, JoinHandle};
use std::time::Duration;

use redis_private_server::PrivateServer;

use crate::support::cluster::{calls, eventually};
use crate::support::redis::ask;
use crate::support::{Running, Said, TIMEOUT, program, run};

/// Runs `load` with these options to its end.
pub(crate) fn load(url: &str, options: &str) -> Said {
    run(program(&["load", "--url", url]).args(options.split(' ')))
}

/// Starts `load` with these options.
pub(crate) fn start(url: &str, options: &str) -> Running {
    Running::start(program(&["load", "--url", url]).args(options.split(' ')))
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
    eventually("messages are published", TIMEOUT, || calls(server, command) >= messages).await;
}

/// The fields and values of all entries of a stream.
pub(crate) fn entries(server: &PrivateServer, stream: &str) -> Vec<Vec<(String, String)>> {
    let entries: Vec<(String, Vec<(String, String)>)> = ask(server, &format!("XRANGE {stream} - +"));
    entries.into_iter().map(|(_, fields)| fields).collect()
}

pub(crate) fn end(server: &PrivateServer, channel: &str) {
    ask::<()>(server, &format!("PUBLISH {channel} end"));
}

/// The number in `Published N messages in …`, the only line on stdout.
pub(crate) fn number(said: &Said) -> usize {
    assert_eq!(said.stdout.lines().count(), 1, "{}", said.stdout);
    usize::try_from(crate::support::published_so_far(said)).unwrap()
}
