//! The minimal cost of moving a stream: one connection, no processing, one transaction after another.

use redis::{Value, cmd, pipe};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::protocol::{Endpoint, Event, GROUP, INPUT, Loaded, OUTPUT};
use super::send;
use crate::bench::clock;
use crate::bench::environment::Environment;

/// Connects, creates the stream's group, waits for the order to begin, and moves the whole stream.
pub(super) async fn run(endpoint: Endpoint, begin: oneshot::Receiver<u64>) -> anyhow::Result<()> {
    let (address, tls) = endpoint.parse()?;
    let mut server = Environment::given(address, &tls).await?;
    server.ask::<()>(cmd("XGROUP").arg("CREATE").arg(INPUT).arg(GROUP).arg(0)).await?;
    send(&Event::Ready);
    // An error means that the bench is gone.
    if begin.await.is_err() {
        return Ok(());
    }
    let cpu = clock::process_cpu();
    let first = clock::now();
    let last = move_all(&mut server).await?;
    let cpu = clock::process_cpu() - cpu;
    send(&Event::Loaded(Loaded {
        first,
        written: last,
        answered: last,
        undelivered: 0,
        stalled: 0,
        cpu,
        late: None,
    }));
    Ok(())
}

/// Returns when the last append was confirmed.
async fn move_all(server: &mut Environment) -> anyhow::Result<u64> {
    /// Entries of one read and of one commit: as many as the group uses.
    const ENTRIES: usize = 256;
    /// One stream with its entries: the id of each, and its fields and values.
    type Read = Option<Vec<(Value, Vec<(Vec<u8>, Vec<Vec<u8>>)>)>>;
    let mut read = cmd("XREADGROUP");
    read.arg("GROUP").arg(GROUP).arg("bare").arg("COUNT").arg(ENTRIES).arg("STREAMS").arg(INPUT).arg(">");
    let consumer = Uuid::new_v4().to_string();
    let mut last = clock::now();
    loop {
        let streams: Read = server.ask(&read).await?;
        let Some((_, entries)) = streams.and_then(|mut streams| streams.pop()) else { return Ok(last) };
        let mut commit = pipe();
        commit.atomic();
        let mut acknowledge = cmd("XACK");
        acknowledge.arg(INPUT).arg(GROUP);
        for (id, fields) in &entries {
            commit.cmd("XADD").arg(OUTPUT).arg("*").arg(fields).arg("consumer_id").arg(&consumer).ignore();
            acknowledge.arg(id);
        }
        server.commit(commit.add_command(acknowledge)).await?;
        last = clock::now();
    }
}
