//! A script that keeps the server busy.

use redis::aio::MultiplexedConnection;
use redis_private_server::PrivateServer;
use tokio::time::Instant;

use crate::fixture::{Fixture, connect};

/// Keeps the server busy for this many seconds. TIME is the only clock of scripts in Redis 7.0. It stands still in
/// scripts of Valkey, which have a clock of the CPU time instead.
const SCRIPT: &str = "
    local has_clock, now = pcall(function() return os.clock end)
    if not has_clock then
        now = function()
            local time = redis.call('TIME')
            return time[1] + time[2] / 1000000
        end
    end
    local over = now() + ARGV[1]
    while now() < over do end
    return 1";

/// Runs a script that only keeps the server busy for this time.
pub(crate) async fn run_script(mut redis: MultiplexedConnection, seconds: f64) {
    let since = Instant::now();
    let ran: i64 = redis::cmd("EVAL").arg(SCRIPT).arg(0).arg(seconds).query_async(&mut redis).await.unwrap();
    assert_eq!(ran, 1);
    assert!(since.elapsed().as_secs_f64() > seconds * 0.9, "{:?}", since.elapsed());
}

/// Runs such a script under load, at a server that answers BUSY after this many milliseconds (0: never).
async fn busy_for(seconds: f64, answers_after: u64) {
    let server = PrivateServer::builder().arg("busy-reply-threshold", answers_after).start().await.unwrap();
    let fixture = Fixture::at(server, 1_000).await;
    let before = fixture.group.ledger().received;
    run_script(connect(&fixture.server.url()).await, seconds).await;
    fixture.goes_on().await;
    let (_, ledger) = fixture.end().await;
    assert_eq!((ledger.gaps.count, ledger.dropped, ledger.abandoned), (0, 0, 0), "{:?}", ledger.gaps);
    assert!(ledger.received > before, "{ledger}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_survives_a_script_of_7_seconds() {
    busy_for(7.0, 5_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_survives_a_script_during_which_the_server_answers_busy() {
    busy_for(5.0, 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_survives_a_script_during_which_the_server_does_not_answer() {
    busy_for(6.0, 0).await;
}
