//! Processes that die without a stop, and how others remove what they left.

use tokio::time::sleep;
use uuid::Uuid;

use super::process::{LEASE, Process, about, registration, wait_for_ids, wait_for_leases, watch_ids_stay};
use super::server::Server;
use crate::redis::ids::{About, Names, Registration};
use crate::status::Status;

#[tokio::test]
async fn the_ids_of_a_killed_process_disappear_while_another_one_runs() {
    let server = Server::start().await;
    let dead = Process::start(&server, 3).await;
    let alive = Process::start(&server, 3).await;
    dead.kill().await;
    wait_for_ids(&server, &alive.ids).await;
    wait_for_leases(&server, 1).await;
    alive.stop().await;
    assert_eq!(server.keys().await, [""; 0]);
}

#[tokio::test]
async fn the_ids_of_a_killed_process_disappear_when_the_next_one_starts() {
    let server = Server::start().await;
    let dead = Process::start(&server, 120).await;
    let ids = dead.ids.clone();
    dead.kill().await;
    sleep(2 * LEASE).await;
    assert_eq!(server.ids().await, ids);
    let next = Process::start(&server, 1).await;
    wait_for_ids(&server, &next.ids).await;
}

#[tokio::test]
async fn two_living_processes_forget_a_dead_one_together() {
    let server = Server::start().await;
    let dead = Process::start(&server, 300).await;
    let (one, two) = (Process::start(&server, 60).await, Process::start(&server, 60).await);
    dead.kill().await;
    wait_for_ids(&server, &[one.ids.clone(), two.ids.clone()].concat()).await;
}

#[tokio::test]
async fn ids_without_a_lease_are_never_touched() {
    let server = Server::start().await;
    server.run::<()>("RPUSH consumer:ids another-program").await;
    let dead = Process::start(&server, 3).await;
    server.run::<()>(&format!("RPUSH consumer:ids {}", Uuid::new_v4())).await;
    let mut foreign = server.ids().await;
    foreign.retain(|id| !dead.ids.contains(id));
    let alive = Process::start(&server, 1).await;
    dead.kill().await;
    wait_for_ids(&server, &[foreign.clone(), alive.ids.clone()].concat()).await;
    watch_ids_stay(&server, &foreign, LEASE).await;
    alive.stop().await;
    assert_eq!(server.ids().await, foreign);
}

#[tokio::test]
async fn the_lane_keys_of_a_dead_process_are_gone_with_its_lease() {
    let server = Server::start().await;
    let process = Uuid::new_v4();
    let lanes = about(process).lanes;
    let others = about(Uuid::new_v4()).lanes;
    let about = About { lanes: [&lanes[..], &["messages:processed".into()]].concat(), ..about(process) };
    let mut dead = Registration::new(
        server.client(),
        Names::new("consumer:ids"),
        process,
        vec![Uuid::new_v4()],
        about,
        Status::alone(),
    );
    dead.register().await.unwrap();
    for key in [&lanes[0], &lanes[1], &others[0], "messages:processed"] {
        server.run::<()>(&format!("HSET {key} number 7")).await;
    }
    let next = Process::start(&server, 1).await;
    wait_for_ids(&server, &next.ids).await;
    wait_for_leases(&server, 1).await;
    next.stop().await;
    let mut keys = server.keys().await;
    keys.sort();
    let mut expected = [others[0].clone(), "messages:processed".into()];
    expected.sort();
    assert_eq!(keys, expected, "only lanes, and only those of the dead process");
}

#[tokio::test]
async fn removal_works_when_redis_is_out_of_memory() {
    let server = Server::start().await;
    let dead = Process::start(&server, 60).await;
    let alive = Process::start(&server, 60).await;
    server.run::<()>("CONFIG SET maxmemory 1mb").await;
    let refused = redis::cmd("SET").arg("a").arg(1).exec_async(&mut server.connection().await).await;
    assert_eq!(refused.unwrap_err().code(), Some("OOM"));
    dead.kill().await;
    wait_for_ids(&server, &alive.ids).await;
    wait_for_leases(&server, 1).await;
    // The living one keeps renewing, and a new one can start and stop.
    watch_ids_stay(&server, &alive.ids, 2 * LEASE).await;
    let newcomer = Process::start(&server, 60).await;
    newcomer.stop().await;
    alive.stop().await;
    assert_eq!(server.keys().await, [""; 0]);
}

#[tokio::test]
async fn a_living_process_is_removed_by_nobody_however_many_judge() {
    let server = Server::start().await;
    let mut processes = Vec::new();
    for _ in 0..5 {
        processes.push(Process::start(&server, 30).await);
    }
    let ids: Vec<String> = processes.iter().flat_map(|process| process.ids.clone()).collect();
    watch_ids_stay(&server, &ids, 4 * LEASE).await;
    assert_eq!(server.ids().await, ids);
}

#[tokio::test]
async fn a_process_that_was_removed_registers_again_completely() {
    let server = Server::start().await;
    let mut silent = registration(server.client(), 120, Uuid::new_v4());
    silent.register().await.unwrap();
    let other = Process::start(&server, 1).await;
    wait_for_ids(&server, &other.ids).await;
    let silent = Process::run(silent);
    wait_for_ids(&server, &[&other.ids[..], &silent.ids].concat()).await;
}
