//! A network line between one process and its server, which a test can cut or silence.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    Fair,
    /// All connections are closed, and so is each new one.
    Cut,
    /// Nothing passes. The data on its way arrives late, when the condition is fair again.
    Silent,
    /// The server receives everything, but none of its answers arrive.
    Deaf,
    /// On existing connections, the server receives nothing until the condition is fair again. New connections work.
    Stuck,
}

pub(crate) struct Line {
    addr: String,
    condition: watch::Sender<Condition>,
    _task: AbortOnDropHandle<()>,
}

impl Line {
    pub(crate) async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let (condition, seen) = watch::channel(Condition::Fair);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(connection(client, server.clone(), seen.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { addr, condition, _task: AbortOnDropHandle::new(task) }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.addr)
    }

    pub(crate) fn set(&self, condition: Condition) {
        self.condition.send_replace(condition);
    }
}

async fn connection(client: TcpStream, server: String, condition: watch::Receiver<Condition>) {
    let born_in = *condition.borrow();
    if born_in == Condition::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else { return };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let held: &[_] = if born_in == Condition::Stuck {
        &[Condition::Silent]
    } else {
        &[Condition::Silent, Condition::Stuck]
    };
    let ((client_says, client_hears), (server_says, server_hears)) =
        (client.into_split(), server.into_split());
    tokio::select! {
        () = pass_on(client_says, server_hears, condition.clone(), held) => {}
        () = pass_on(server_says, client_hears, condition, &[Condition::Silent, Condition::Deaf]) => {}
    }
}

/// Forwards until one side closes, or the line is cut.
async fn pass_on(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut condition: watch::Receiver<Condition>,
    held_in: &[Condition],
) {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let read = tokio::select! {
            read = from.read(&mut bytes) => read.unwrap_or(0),
            Ok(_) = condition.wait_for(|condition| *condition == Condition::Cut) => 0,
        };
        let passes = condition.wait_for(|condition| !held_in.contains(condition)).await;
        if read == 0 || passes.is_ok_and(|condition| *condition == Condition::Cut) {
            return;
        }
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
