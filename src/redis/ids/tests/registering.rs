//! Starting and stopping cleanly.

use redis_private_server::PrivateServer;
use tokio::time::sleep;
use uuid::Uuid;

use super::process::{LEASE, Process, about, registration, texts, watch_ids_stay};
use super::server::Server;
use crate::redis::ids::{About, Names, Registration, SameWork};
use crate::status::Status;

#[tokio::test]
async fn ids_are_pushed_in_order_before_anything_else() {
    let server = Server::start().await;
    let first = Process::start(&server, 3).await;
    assert_eq!(server.ids().await, first.ids);
    let second = Process::start(&server, 2).await;
    assert_eq!(server.ids().await, [first.ids, second.ids].concat());
}

#[tokio::test]
async fn a_second_process_keeps_its_ids_when_the_first_one_stops() {
    let server = Server::start().await;
    let first = Process::start(&server, 3).await;
    let second = Process::start(&server, 3).await;
    first.stop().await;
    assert_eq!(server.ids().await, second.ids);
    watch_ids_stay(&server, &second.ids, 2 * LEASE).await;
}

#[tokio::test]
async fn no_keys_are_left_after_a_clean_stop_of_the_last_process() {
    let server = Server::start().await;
    let (first, second) = (Process::start(&server, 3).await, Process::start(&server, 70).await);
    sleep(LEASE).await;
    first.stop().await;
    second.stop().await;
    assert_eq!(server.keys().await, [""; 0]);
}

#[tokio::test]
async fn a_clean_stop_deletes_what_is_left_of_the_own_lanes_and_no_other_ones() {
    let server = Server::start().await;
    let process = Uuid::new_v4();
    let mut own = registration(server.client(), 1, process);
    own.register().await.unwrap();
    let (lane, other) = (own.about.lanes[1].clone(), about(Uuid::new_v4()).lanes[1].clone());
    for key in [&lane, &other] {
        server.run::<()>(&format!("HSET {key} number 7")).await;
    }
    own.release().await.unwrap();
    assert_eq!(server.keys().await, [other]);
}

#[tokio::test]
async fn a_thousand_ids_are_registered_and_removed_in_calls_of_at_most_fifty() {
    let server = Server::start().await;
    let mut many = registration(server.client(), 1000, Uuid::new_v4());
    many.register().await.unwrap();
    assert_eq!(calls(&server, "eval").await, 20);
    assert_eq!(server.ids().await, texts(&many));
    assert_eq!(calls(&server, "lpos").await, 1000);
    many.release().await.unwrap();
    // 20 full calls, one that finds nothing, and one for the lease.
    assert_eq!(calls(&server, "eval").await, 20 + 22);
    assert_eq!(calls(&server, "lrem").await, 1000);
    assert_eq!(server.keys().await, [""; 0]);
}

#[tokio::test]
async fn registering_again_pushes_no_id_twice() {
    let server = Server::start().await;
    let mut process = registration(server.client(), 120, Uuid::new_v4());
    process.register().await.unwrap();
    process.register().await.unwrap();
    assert_eq!(server.ids().await, texts(&process));
}

#[tokio::test]
async fn two_processes_on_the_same_input_and_output_see_each_other() {
    let server = Server::start().await;
    let on_the_same = |process, source: &str| {
        let about = About {
            source: source.into(),
            input: "messages:published".into(),
            output: "messages:processed".into(),
            ..about(process)
        };
        let ids = vec![Uuid::new_v4()];
        Registration::new(server.client(), Names::new("consumer:ids"), process, ids, about, Status::alone())
    };
    let (one, other) = (Uuid::new_v4(), Uuid::new_v4());
    let mut older = on_the_same(one, "pubsub");
    older.register().await.unwrap();
    let older = Process::run(older);
    let mut elsewhere = registration(server.client(), 1, Uuid::new_v4());
    elsewhere.register().await.unwrap();
    let mut sharing = on_the_same(Uuid::new_v4(), "stream");
    sharing.register().await.unwrap();
    let mut newer = on_the_same(other, "pubsub");
    newer.register().await.unwrap();

    let seen = |same: &[SameWork]| same.iter().map(|same| same.process).collect::<Vec<_>>();
    assert_eq!(seen(&newer.same_work), [one]);
    assert_eq!(elsewhere.same_work, []);
    assert_eq!(sharing.same_work, []);
    // Several renewals report it only once.
    sleep(LEASE).await;
    assert_eq!(seen(&older.stop().await.same_work), [other]);
}

#[tokio::test]
async fn all_keys_are_in_one_slot_of_a_cluster() {
    let server = Server::start_with(PrivateServer::builder().arg("cluster-enabled", "yes")).await;
    server.run::<()>("CLUSTER ADDSLOTSRANGE 0 16383").await;
    for key in ["consumer:ids", "{app}:ids"] {
        let process = Uuid::new_v4();
        let ids = vec![Uuid::new_v4()];
        let mut member = Registration::new(
            server.client(),
            Names::new(key),
            process,
            ids,
            about(process),
            Status::alone(),
        );
        while let Err(error) = member.register().await {
            assert!(error.to_string().contains("The cluster is down"), "{error}");
            sleep(LEASE / 50).await;
        }
        assert_eq!(server.keys().await.len(), 4);
        member.release().await.unwrap();
        assert_eq!(server.keys().await, [""; 0]);
    }
}

/// How often the server ran a command, calls from scripts included.
async fn calls(server: &Server, command: &str) -> u64 {
    let stats: String = server.run("INFO commandstats").await;
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
}
