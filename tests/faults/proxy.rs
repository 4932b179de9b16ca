//! A TCP proxy between a group and its server that breaks connections at a chosen byte, holds data back, and
//! delivers it later.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// The fault of the next commit. Bytes are counted from its `MULTI`, or from the first byte of the answer to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection breaks after this many bytes of the commit have reached the server.
    CutCommit(usize),
    /// The whole commit reaches the server. The connection breaks after this many bytes of the answer.
    CutAnswer(usize),
    /// After this many bytes of the commit, the connection breaks for the group only; the server gets the rest later.
    Late(usize, When),
}

/// When the rest of a commit reaches the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Before the lane's next connection sends anything.
    BeforeTheFence,
    /// After the next connection has raised the fence, before its commit.
    AfterTheFence,
    /// After the commit of the next connection.
    AfterTheCommit,
}

/// The kind of a connection, as its first command names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    Lane,
    Subscriber,
    Other,
}

pub(crate) struct Proxy {
    addr: String,
    shared: Arc<Shared>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Shared {
    server: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    fault: Option<Fault>,
    late: Option<Late>,
    /// The fault is over.
    done: bool,
    /// The server's answers to late commits.
    late_answers: Vec<Vec<u8>>,
    /// The length in bytes of the last commit that went through whole, and of its answer.
    last_commit: (usize, usize),
    connections: Vec<Arc<Tap>>,
    /// A new subscriber gets the confirmation together with the first message.
    joins: bool,
}

/// The server's side of a connection that the group has given up.
struct Late {
    server: TcpStream,
    rest: Vec<u8>,
    when: When,
}

/// One connection.
struct Tap {
    whose: Whose,
    held: AtomicBool,
    changed: Notify,
}

impl Proxy {
    /// Starts a proxy in front of the server at this address.
    pub(crate) async fn before(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared { server, state: Mutex::default() });
        let task = tokio::spawn({
            let shared = shared.clone();
            async move {
                let mut connections = JoinSet::new();
                while let Ok((client, _)) = listener.accept().await {
                    connections.spawn(connection(shared.clone(), client));
                }
            }
        });
        Self { addr, shared, _task: AbortOnDropHandle::new(task) }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.addr)
    }

    /// Sets the fault of the next commit.
    pub(crate) fn arm(&self, fault: Fault) {
        let mut state = self.shared.state.lock().unwrap();
        assert!(state.fault.is_none() && state.late.is_none());
        state.done = false;
        state.fault = Some(fault);
    }

    /// Whether another fault can be armed.
    pub(crate) fn is_free(&self) -> bool {
        let state = self.shared.state.lock().unwrap();
        state.fault.is_none() && state.late.is_none()
    }

    /// Whether the fault is over.
    pub(crate) fn is_done(&self) -> bool {
        self.shared.state.lock().unwrap().done
    }

    /// The server's answer to each late commit.
    pub(crate) fn late_answers(&self) -> Vec<Vec<u8>> {
        self.shared.state.lock().unwrap().late_answers.clone()
    }

    /// The length in bytes of the last commit that went through whole, and of its answer.
    pub(crate) fn last_commit(&self) -> (usize, usize) {
        self.shared.state.lock().unwrap().last_commit
    }

    /// Holds back all data on the existing connections, in both directions. Returns how many connections that are.
    pub(crate) fn hold(&self, whose: Whose) -> usize {
        self.set_held(whose, true)
    }

    /// Delivers the data that was held back, and holds nothing back from now on.
    pub(crate) fn release(&self, whose: Whose) -> usize {
        self.set_held(whose, false)
    }

    /// From now on, delivers the confirmation to a new subscriber only together with its first message.
    pub(crate) fn join_confirmation_and_message(&self) {
        self.shared.state.lock().unwrap().joins = true;
    }

    /// The number of open connections.
    pub(crate) fn count(&self, whose: Whose) -> usize {
        let state = self.shared.state.lock().unwrap();
        state.connections.iter().filter(|tap| tap.whose == whose).count()
    }

    fn set_held(&self, whose: Whose, held: bool) -> usize {
        let state = self.shared.state.lock().unwrap();
        let taps = state.connections.iter().filter(|tap| tap.whose == whose);
        taps.filter(|tap| tap.held.swap(held, Ordering::SeqCst) != held)
            .map(|tap| tap.changed.notify_one())
            .count()
    }
}

async fn connection(shared: Arc<Shared>, client: TcpStream) {
    let Ok(server) = TcpStream::connect(&shared.server).await else { return };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let mut first = vec![0; 64 << 10];
    let mut link =
        Link { shared: shared.clone(), client, server, whose: Whose::Other, answer: None, joined: None };
    let Ok(read) = link.client.read(&mut first).await else { return };
    first.truncate(read);
    link.whose = if contains(&first, b"redis-consumer-group:lane") {
        Whose::Lane
    } else if contains(&first, b"redis-consumer-group:subscriber") {
        Whose::Subscriber
    } else {
        Whose::Other
    };
    if link.whose == Whose::Subscriber && shared.state.lock().unwrap().joins {
        link.joined = Some(Vec::new());
    }
    let tap = Arc::new(Tap { whose: link.whose, held: AtomicBool::new(false), changed: Notify::new() });
    shared.state.lock().unwrap().connections.push(tap.clone());
    link.run(&tap, first).await;
    shared.state.lock().unwrap().connections.retain(|other| !Arc::ptr_eq(other, &tap));
}

struct Link {
    shared: Arc<Shared>,
    client: TcpStream,
    server: TcpStream,
    whose: Whose,
    /// While a commit is under way: how many bytes of its answer have arrived, and how many may.
    answer: Option<(usize, usize)>,
    /// The bytes for a new subscriber that are held back until its first message arrives.
    joined: Option<Vec<u8>>,
}

/// The connection has ended.
struct Broken;

impl Link {
    async fn run(mut self, tap: &Tap, first: Vec<u8>) {
        let (mut up, mut down) = (vec![0; 256 << 10], vec![0; 256 << 10]);
        let (mut up_held, mut down_held) = (Vec::new(), Vec::new());
        if self.whose == Whose::Lane {
            self.deliver_late(When::BeforeTheFence).await;
        }
        if self.server.write_all(&first).await.is_err() {
            return;
        }
        let mut client_left = false;
        loop {
            let held = tap.held.load(Ordering::SeqCst);
            tokio::select! {
                read = self.client.read(&mut up), if !client_left => match read {
                    Ok(0) | Err(_) if held => client_left = true,
                    Ok(0) | Err(_) => return,
                    Ok(read) if held => up_held.extend_from_slice(&up[..read]),
                    Ok(read) => match self.forward_up(&up[..read]).await {
                        Ok(()) => {}
                        Err(None) => return,
                        Err(Some((rest, when))) => {
                            let late = Late { server: self.server, rest, when };
                            self.shared.state.lock().unwrap().late = Some(late);
                            return;
                        }
                    },
                },
                read = self.server.read(&mut down) => match read {
                    Ok(0) | Err(_) => return,
                    Ok(read) if held => down_held.extend_from_slice(&down[..read]),
                    Ok(read) => if self.forward_down(&down[..read]).await.is_err() {
                        return;
                    },
                },
                () = tap.changed.notified() => if !tap.held.load(Ordering::SeqCst) {
                    if self.server.write_all(&up_held).await.is_err() {
                        return;
                    }
                    up_held.clear();
                    if client_left {
                        let answer = ask(&mut self.server).await;
                        self.shared.state.lock().unwrap().late_answers.push(answer);
                        return;
                    }
                    if self.client.write_all(&down_held).await.is_err() {
                        return;
                    }
                    down_held.clear();
                },
            }
        }
    }

    /// Forwards to the server. An error ends the connection; an error with bytes ends it for the group only.
    async fn forward_up(&mut self, bytes: &[u8]) -> Result<(), Option<(Vec<u8>, When)>> {
        let is_commit = self.whose == Whose::Lane && contains(bytes, b"XADD") && !contains(bytes, b"DISCARD");
        let fault = if is_commit { self.shared.state.lock().unwrap().fault.take() } else { None };
        if is_commit {
            self.deliver_late(When::AfterTheFence).await;
            self.answer = Some((0, usize::MAX));
            self.shared.state.lock().unwrap().last_commit = (bytes.len(), 0);
        }
        match fault {
            Some(Fault::CutCommit(after)) => {
                let _ = self.server.write_all(&bytes[..after.min(bytes.len())]).await;
                self.shared.state.lock().unwrap().done = true;
                return Err(None);
            }
            Some(Fault::Late(after, when)) => {
                let (now, later) = bytes.split_at(after.min(bytes.len()));
                self.server.write_all(now).await.map_err(|_| None)?;
                return Err(Some((later.to_vec(), when)));
            }
            Some(Fault::CutAnswer(after)) => self.answer = Some((0, after)),
            None => {}
        }
        self.server.write_all(bytes).await.map_err(|_| None)
    }

    async fn forward_down(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let joined;
        let mut bytes = bytes;
        let mut cut = false;
        if let Some(mut so_far) = self.joined.take() {
            so_far.extend_from_slice(bytes);
            let awaits_message = contains(&so_far, b"\r\nsubscribe\r\n");
            if awaits_message && !contains(&so_far, b"\r\nmessage\r\n") {
                self.joined = Some(so_far);
                return Ok(());
            }
            self.joined = (!awaits_message).then(Vec::new);
            joined = so_far;
            bytes = &joined;
        }
        if let Some((seen, most)) = &mut self.answer {
            let room = *most - *seen;
            if bytes.len() >= room {
                bytes = &bytes[..room];
                cut = true;
            }
            *seen += bytes.len();
            let seen = *seen;
            self.deliver_late(When::AfterTheCommit).await;
            self.shared.state.lock().unwrap().last_commit.1 = seen;
        }
        self.client.write_all(bytes).await.map_err(|_| Broken)?;
        if cut {
            self.shared.state.lock().unwrap().done = true;
            return Err(Broken);
        }
        Ok(())
    }

    /// Delivers the rest of a commit whose connection was given up, if it is due, and waits until the server has read
    /// it.
    async fn deliver_late(&self, now: When) {
        let late = self.shared.state.lock().unwrap().late.take_if(|late| late.when == now);
        let Some(mut late) = late else { return };
        late.server.write_all(&late.rest).await.unwrap();
        let answer = ask(&mut late.server).await;
        let mut state = self.shared.state.lock().unwrap();
        state.late_answers.push(answer);
        state.done = true;
    }
}

/// Sends a PING to find out when the server has executed everything before it, and returns the answers up to then.
async fn ask(server: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    server.write_all(b"PING\r\n").await.unwrap();
    while !contains(&answer, b"+PONG") {
        if server.read_buf(&mut answer).await.unwrap() == 0 {
            break;
        }
    }
    answer
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}
