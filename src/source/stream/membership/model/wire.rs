//! The connections between a process and the server: they lose and delay exchanges on demand.
//!
//! All bytes that a process has written when the wire reads are one exchange: a command, a pipeline, a transaction. A
//! process waits for the answer before it sends more, so exchanges are counted the same way each time.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

/// Selects an exchange.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which {
    /// The one after this many others.
    After(usize),
    /// The next commit.
    Commit,
}

/// What happens to an exchange.
#[derive(Debug, Clone, Copy)]
pub(super) enum Trouble {
    /// The connection is cut, and the server never gets the request.
    LostRequest,
    /// The connection is cut after the server has answered.
    LostAnswer,
    /// The connection is cut, and the server gets the request later: with the exchange of this number after it, or
    /// when all late requests are delivered.
    Late(Option<usize>),
    /// The request is held until the wire is told to go on.
    Held,
    /// The commit is executed up to its `EXEC`, and the rest of the request is held.
    HeldInPart,
}

/// Late requests of all processes. The server's ends of their connections stay open.
#[derive(Clone, Default)]
pub(super) struct Delayed(Arc<Mutex<Vec<Late>>>);

struct Late {
    server: UnixStream,
    request: Vec<u8>,
}

impl Delayed {
    /// Delivers them, in order.
    pub(super) async fn deliver(&self) {
        let late = std::mem::take(&mut *self.0.lock().unwrap());
        for Late { mut server, request } in late {
            // The server may have closed the connection of a read, because the process asked it to (`CLIENT KILL`).
            if server.write_all(&request).await.is_err() {
                continue;
            }
            let mut answer = [0; 4 << 10];
            let answered = timeout(Duration::from_secs(10), server.read(&mut answer)).await;
            drop(answered.expect("an answer, or the end of the connection"));
        }
    }

    fn add(&self, server: UnixStream, request: Vec<u8>) {
        self.0.lock().unwrap().push(Late { server, request });
    }
}

/// The wire of one process. Dropping it cuts all connections.
pub(super) struct Wire {
    pub(super) url: String,
    pub(super) plan: Arc<Plan>,
    carrier: JoinHandle<()>,
}

pub(super) struct Plan {
    state: Mutex<State>,
    go_on: Notify,
    delayed: Delayed,
}

#[derive(Default)]
struct State {
    /// The exchange, what happens to it, and the sender that reports it.
    strike: Option<(Which, Trouble, oneshot::Sender<()>)>,
    /// After how many exchanges the late requests arrive.
    due: Option<usize>,
}

impl Wire {
    pub(super) fn new(server: &Path, here: PathBuf, delayed: Delayed) -> Self {
        let listener = UnixListener::bind(&here).unwrap();
        let plan = Arc::new(Plan { state: Mutex::default(), go_on: Notify::new(), delayed });
        let (server, shared) = (server.to_owned(), plan.clone());
        let carrier = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (server, plan) = (server.clone(), shared.clone());
                connections.spawn(async move {
                    plan.carry(client, UnixStream::connect(server).await.unwrap()).await
                });
            }
        });
        Self { url: format!("unix://{}", here.display()), plan, carrier }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.carrier.abort();
    }
}

impl Plan {
    /// Plans trouble for an exchange. The receiver is notified when it has happened.
    pub(super) fn strike(&self, which: Which, trouble: Trouble) -> oneshot::Receiver<()> {
        let (struck, told) = oneshot::channel();
        *self.state.lock().unwrap() = State { strike: Some((which, trouble, struck)), due: None };
        told
    }

    /// Cancels all plans.
    pub(super) fn calm(&self) {
        *self.state.lock().unwrap() = State::default();
    }

    /// Releases a held exchange.
    pub(super) fn go_on(&self) {
        self.go_on.notify_one();
    }

    async fn carry(&self, mut client: UnixStream, mut server: UnixStream) {
        let (mut up, mut down) = (vec![0; 64 << 10], vec![0; 64 << 10]);
        loop {
            let read = tokio::select! {
                read = client.read(&mut up) => read.unwrap_or(0),
                read = server.read(&mut down) => match read.unwrap_or(0) {
                    0 => return,
                    read if client.write_all(&down[..read]).await.is_err() => return,
                    _ => continue,
                },
            };
            if read == 0 {
                return;
            }
            let request = &up[..read];
            if self.is_due() {
                self.delayed.deliver().await;
            }
            let Some((trouble, struck)) = self.next(request) else {
                server.write_all(request).await.unwrap();
                continue;
            };
            match trouble {
                Trouble::LostRequest => {}
                Trouble::LostAnswer => {
                    server.write_all(request).await.unwrap();
                    assert!(server.read(&mut down).await.unwrap() > 0);
                }
                Trouble::Late(due) => {
                    self.state.lock().unwrap().due = due;
                    self.delayed.add(server, request.to_vec());
                }
                Trouble::Held | Trouble::HeldInPart => {
                    let (first, rest) = request.split_at(match trouble {
                        Trouble::HeldInPart => end_of_exec(request),
                        _ => 0,
                    });
                    let mut answered = 0;
                    if !first.is_empty() {
                        server.write_all(first).await.unwrap();
                        answered = server.read(&mut down).await.unwrap();
                    }
                    let _ = struck.send(());
                    self.go_on.notified().await;
                    server.write_all(rest).await.unwrap();
                    client.write_all(&down[..answered]).await.unwrap();
                    continue;
                }
            }
            let _ = struck.send(());
            return;
        }
    }

    /// The trouble planned for this exchange.
    fn next(&self, request: &[u8]) -> Option<(Trouble, oneshot::Sender<()>)> {
        let mut state = self.state.lock().unwrap();
        match &mut state.strike.as_mut()?.0 {
            Which::After(0) => {}
            Which::After(others) => {
                *others -= 1;
                return None;
            }
            Which::Commit if request.windows(COMMIT.len()).any(|window| window == COMMIT) => {}
            Which::Commit => return None,
        }
        state.strike.take().map(|(_, trouble, struck)| (trouble, struck))
    }

    /// Whether late requests arrive with this exchange.
    fn is_due(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        let Some(due) = &mut state.due else { return false };
        *due = due.saturating_sub(1);
        let is_due = *due == 0;
        if is_due {
            state.due = None;
        }
        is_due
    }
}

/// Only commits contain this.
const COMMIT: &[u8] = b"$4\r\nHSET\r\n";

fn end_of_exec(request: &[u8]) -> usize {
    const EXEC: &[u8] = b"$4\r\nEXEC\r\n";
    request.windows(EXEC.len()).position(|window| window == EXEC).map_or(0, |at| at + EXEC.len())
}
