//! Living processes whose ids were removed or whose leases lapsed.

use std::time::Duration;

use tokio::time::sleep;
use uuid::Uuid;

use super::process::{LEASE, Process, registration, texts, wait_for_ids, watch_ids_stay};
use super::server::Server;
use crate::redis::ids::clear;

#[tokio::test]
async fn a_living_process_puts_its_ids_back_after_clear() {
    let server = Server::start().await;
    let process = Process::start(&server, 3).await;
    assert_eq!(clear(&mut server.connection().await, "consumer:ids").await.unwrap(), 3);
    assert_eq!(server.ids().await, [""; 0]);
    wait_for_ids(&server, &process.ids).await;
}

#[tokio::test]
async fn a_living_process_puts_all_its_ids_back_after_flushall() {
    let server = Server::start().await;
    let process = Process::start(&server, 1000).await;
    server.run::<()>("FLUSHALL").await;
    // All at once: fifty ids with each renewal would take seven leases.
    sleep(2 * LEASE).await;
    let (mut ids, mut own) = (server.ids().await, process.ids.clone());
    ids.sort();
    own.sort();
    assert_eq!(ids, own);
    process.stop().await;
    assert_eq!(server.keys().await, [""; 0]);
}

#[tokio::test]
async fn an_id_that_someone_removed_comes_back_wherever_it_stood() {
    let server = Server::start().await;
    let process = Process::start(&server, 130).await;
    let last = process.ids.last().unwrap();
    server.run::<()>(&format!("LREM consumer:ids 0 {last}")).await;
    wait_for_ids(&server, &process.ids).await;
}

#[tokio::test]
async fn a_process_whose_lease_lapsed_judges_nobody_for_one_lease() {
    let server = Server::start().await;
    let (mut one, mut two) =
        (registration(server.client(), 2, Uuid::new_v4()), registration(server.client(), 2, Uuid::new_v4()));
    one.register().await.unwrap();
    two.register().await.unwrap();
    let (ones, twos) = (texts(&one), texts(&two));
    sleep(2 * LEASE).await;
    // Both leases have lapsed, and only `one` is awake: the ids of `two` must stay for one more lease.
    let one = Process::run(one);
    watch_ids_stay(&server, &twos, LEASE).await;
    wait_for_ids(&server, &ones).await;
    one.stop().await;
}

#[tokio::test]
async fn a_server_that_was_frozen_for_longer_than_a_lease_costs_nobody_its_ids() {
    let server = Server::start().await;
    let (one, two) = (Process::start(&server, 3).await, Process::start(&server, 60).await);
    let ids = [&one.ids[..], &two.ids].concat();
    sleep(LEASE).await;
    for frozen in [LEASE * 7 / 10, LEASE * 3] {
        server.freeze();
        sleep(frozen).await;
        server.thaw();
        watch_ids_stay(&server, &ids, 3 * LEASE).await;
    }
    assert_eq!(server.ids().await, ids);
    one.stop().await;
    two.stop().await;
    assert_eq!(server.keys().await, [""; 0]);
}

#[tokio::test]
async fn a_newcomer_judges_nobody_who_is_about_to_renew() {
    let server = Server::start().await;
    let mut late = registration(server.client(), 3, Uuid::new_v4());
    late.register().await.unwrap();
    let ids = texts(&late);
    // As after a long restart of the server: all leases have lapsed, and a new process is the first to arrive.
    sleep(LEASE + LEASE / 10).await;
    let newcomer = Process::start(&server, 1).await;
    watch_ids_stay(&server, &ids, LEASE / 4).await;
    let late = Process::run(late);
    watch_ids_stay(&server, &ids, 3 * LEASE).await;
    newcomer.stop().await;
    late.stop().await;
}

#[tokio::test]
async fn a_process_survives_the_loss_of_all_its_connections() {
    let server = Server::start().await;
    let process = Process::start(&server, 3).await;
    for _ in 0..20 {
        server.run::<u64>("CLIENT KILL TYPE normal SKIPME yes").await;
        watch_ids_stay(&server, &process.ids, LEASE / 10).await;
    }
    assert_eq!(server.ids().await, process.ids);
    process.stop().await;
    assert_eq!(server.keys().await, [""; 0]);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_server_that_is_frozen() {
    let server = Server::start().await;
    let process = Process::start(&server, 3).await;
    server.freeze();
    sleep(LEASE).await;
    let stopping = tokio::spawn(process.stop());
    sleep(Duration::from_millis(200)).await;
    server.thaw();
    tokio::time::timeout(LEASE, stopping).await.unwrap().unwrap();
    wait_for_ids(&server, &[]).await;
}
