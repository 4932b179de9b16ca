//! A publisher that survives all faults of the server, and knows which messages were published.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// The ids whose PUBLISH the server has confirmed, in the order of publishing.
pub(crate) type Published = BTreeMap<u64, Sent>;

/// The server published the message between these two moments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) written: Instant,
    pub(crate) confirmed: Instant,
}

/// Ids that a test has just published itself.
pub(crate) fn by_hand(ids: impl IntoIterator<Item = u64>) -> Published {
    let now = Instant::now();
    ids.into_iter().map(|id| (id, Sent { written: now, confirmed: now })).collect()
}

/// Publishes the ids 0, 1, 2, … at an even rate until it is stopped. It does not wait for the server, so its messages
/// accumulate in the socket of a frozen server.
pub(crate) struct Load {
    published: Arc<Mutex<Published>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Load {
    pub(crate) fn start(addr: String, channel: &str, a_second: u64) -> Self {
        Self::start_padded(addr, channel, a_second, 0)
    }

    /// The same with `padding` further bytes per message.
    pub(crate) fn start_padded(addr: String, channel: &str, a_second: u64, padding: usize) -> Self {
        let published = Arc::new(Mutex::new(Published::new()));
        let stop = CancellationToken::new();
        let publisher = Publisher {
            addr,
            channel: channel.to_owned(),
            a_tick: a_second.div_ceil(100),
            padding: "x".repeat(padding),
            next: 0,
            published: published.clone(),
            stop: stop.clone(),
        };
        Self { published, stop, task: tokio::spawn(publisher.run()) }
    }

    /// The ids whose PUBLISH the server has confirmed so far.
    pub(crate) fn published(&self) -> Published {
        self.published.lock().unwrap().clone()
    }

    /// The number of these ids.
    pub(crate) fn count(&self) -> usize {
        self.published.lock().unwrap().len()
    }

    /// Stops, and waits until the server has answered everything that was written.
    pub(crate) async fn stop(self) -> Published {
        self.stop.cancel();
        self.task.await.unwrap();
        self.published.lock().unwrap().clone()
    }
}

struct Publisher {
    addr: String,
    channel: String,
    a_tick: u64,
    padding: String,
    next: u64,
    published: Arc<Mutex<Published>>,
    stop: CancellationToken,
}

impl Publisher {
    async fn run(mut self) {
        while !self.stop.is_cancelled() {
            match TcpStream::connect(&self.addr).await {
                Ok(stream) => self.publish(stream).await,
                Err(_) => sleep(Duration::from_millis(5)).await,
            }
        }
    }

    /// Publishes on one connection until the connection ends or the load stops.
    async fn publish(&mut self, stream: TcpStream) {
        let (replies, mut socket) = stream.into_split();
        let unanswered = Arc::new(Mutex::new(VecDeque::new()));
        let (published, waiting) = (self.published.clone(), unanswered.clone());
        let reader = tokio::spawn(async move {
            let mut lines = BufReader::new(replies).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let (id, written): (u64, _) = waiting.lock().unwrap().pop_front().unwrap();
                // Any other answer than a number is a refusal.
                if line.starts_with(':') {
                    let sent = Sent { written, confirmed: Instant::now() };
                    published.lock().unwrap().insert(id, sent);
                }
            }
        });
        let mut ticks = interval(Duration::from_millis(10));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.stop.is_cancelled() && !reader.is_finished() {
            ticks.tick().await;
            let mut out = String::new();
            for id in self.next..self.next + self.a_tick {
                out.push_str(&format!("PUBLISH {} {id}:{}\r\n", self.channel, self.padding));
                unanswered.lock().unwrap().push_back((id, Instant::now()));
            }
            self.next += self.a_tick;
            if socket.write_all(out.as_bytes()).await.is_err() {
                break;
            }
        }
        let answered = async {
            while !reader.is_finished() && !unanswered.lock().unwrap().is_empty() {
                sleep(Duration::from_millis(2)).await;
            }
        };
        let _ = timeout(Duration::from_secs(10), answered).await;
        reader.abort();
    }
}
