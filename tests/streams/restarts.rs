//! The server is killed too.

use std::time::Duration;

use redis_private_server::PrivateServer;
use tokio::time::sleep;

use crate::fixture::{append, assert_nothing_left_behind, drained, soon};
use crate::process::Process;
use crate::support::{OUTPUT, Server, judge};

const ENTRIES: usize = 6_000;
const RESTARTS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_while_the_server_and_processes_are_killed() {
    let mut server = Server::start_with(PrivateServer::builder().appendonly_always()).await;
    let mut processes: Vec<_> = (0..3).map(|_| Process::start(&server.url())).collect();
    soon("all processes have begun", async || server.ids().await.len() == 12).await;
    let mut sent = Vec::new();
    for round in 0..RESTARTS {
        sent.extend(append(&server, round * ENTRIES..(round + 1) * ENTRIES).await);
        // While entries are being processed.
        let some = round * ENTRIES + ENTRIES / 2;
        soon("some of them are processed", async || server.length(OUTPUT).await > some).await;
        server.kill().unwrap();
        match round {
            // Down for a moment, or for longer than a lease; or a process dies before or after the restart.
            0 => {}
            1 => sleep(Duration::from_millis(2500)).await,
            2 => processes[0].kill(),
            _ => {
                server.restart().await.unwrap();
                processes[1].kill();
                continue;
            }
        }
        server.restart().await.unwrap();
    }
    processes.drain(..2);
    drained(&server, sent.len(), Duration::from_secs(60)).await;
    soon("only the ids of the one that lives are listed", async || server.ids().await.len() == 4).await;
    for process in processes {
        process.stop().await;
    }
    assert_eq!(server.rejected().await, []);
    judge(&sent, &server.output().await).assert_flawless();
    assert_nothing_left_behind(&server).await;
}
