//! Permissions that Redis refuses, and the least that it must grant.

use tokio::time::sleep;
use uuid::Uuid;

use super::process::{LEASE, Process, registration, texts, wait_for_ids, wait_for_leases};
use super::server::Server;
use crate::redis::ids::list::{CLEARING, LISTING};
use crate::redis::ids::scripts::COMMANDS;
use crate::redis::ids::{Connect, IdsError, clear, list};

/// The rule that the error text recommends, and the lanes.
fn least(without: &str) -> String {
    let commands: Vec<_> =
        COMMANDS.iter().filter(|command| **command != without).map(|command| format!("+{command}")).collect();
    format!("ACL SETUSER group on >secret ~consumer:ids ~{{consumer:ids}}:* {}", commands.join(" "))
}

#[tokio::test]
async fn the_least_acl_rule_is_enough_for_a_whole_life() {
    let server = Server::start().await;
    server.run::<()>(&format!("{} ~{{processed:*", least(""))).await;
    let mut dead = registration(server.client_of("group"), 60, Uuid::new_v4());
    dead.register().await.unwrap();
    let mut alive = registration(server.client_of("group"), 60, Uuid::new_v4());
    alive.register().await.unwrap();
    let alive = Process::run(alive);
    wait_for_ids(&server, &alive.ids).await;
    wait_for_leases(&server, 1).await;
    alive.stop().await;
    assert_eq!(server.keys().await, [""; 0]);
}

#[tokio::test]
async fn each_permission_is_needed_and_its_lack_is_fatal() {
    let server = Server::start().await;
    for command in COMMANDS {
        server.run::<()>("FLUSHALL").await;
        server.run::<u64>("ACL DELUSER group").await;
        server.run::<()>(&format!("{} ~{{processed:*", least(command))).await;
        let mut other = registration(server.client(), 1, Uuid::new_v4());
        other.register().await.unwrap();
        let mut process = registration(server.client_of("group"), 1, Uuid::new_v4());
        let end = match process.register().await {
            Ok(()) => process.release().await,
            refused => refused,
        };
        let error = end.expect_err(command);
        assert!(matches!(error, IdsError::Refused { .. }), "{command}: {error}");
        assert!(error.to_string().contains(&format!("+{command}")), "{error}");
    }
}

#[tokio::test]
async fn the_error_for_list_and_clear_names_the_permissions_that_are_enough() {
    let server = Server::start().await;
    let mut process = registration(server.client(), 1, Uuid::new_v4());
    process.register().await.unwrap();
    let rule = |commands: &[&str], without: &str| {
        let commands: Vec<_> = commands.iter().filter(|command| **command != without).collect();
        let commands: String = commands.iter().map(|command| format!(" +{command}")).collect();
        format!("ACL SETUSER person reset on >secret ~consumer:ids ~{{consumer:ids}}:*{commands}")
    };
    for command in LISTING {
        server.run::<()>(&rule(&LISTING, command)).await;
        let mut connection = server.client_of("person").connect().await.unwrap().into_connection();
        let error = list(&mut connection, "consumer:ids").await.expect_err(command);
        assert!(matches!(error, IdsError::Refused { .. }), "{command}: {error}");
        assert!(
            error.to_string().contains("grant ~consumer:ids ~{consumer:ids}:* +lrange +zrange"),
            "{error}"
        );
    }
    for command in CLEARING {
        server.run::<()>(&rule(&CLEARING, command)).await;
        let mut connection = server.client_of("person").connect().await.unwrap().into_connection();
        let error = clear(&mut connection, "consumer:ids").await.expect_err(command);
        assert!(matches!(error, IdsError::Refused { .. }), "{command}: {error:?}");
        assert!(error.to_string().contains("grant ~consumer:ids +lpop"), "{error}");
    }
    server.run::<()>(&rule(&LISTING, "")).await;
    let mut connection = server.client_of("person").connect().await.unwrap().into_connection();
    assert_eq!(list(&mut connection, "consumer:ids").await.unwrap().len(), 1);
    server.run::<()>(&rule(&CLEARING, "")).await;
    let mut connection = server.client_of("person").connect().await.unwrap().into_connection();
    for removed in [1, 0] {
        assert_eq!(clear(&mut connection, "consumer:ids").await.unwrap(), removed);
    }
}

#[tokio::test]
async fn clearing_a_key_of_another_type_is_refused_and_leaves_it_as_it_is() {
    let server = Server::start().await;
    server.run::<()>("SET consumer:ids mine").await;
    let error = clear(&mut server.connection().await, "consumer:ids").await.unwrap_err();
    assert!(matches!(error, IdsError::WrongType { .. }), "{error}");
    assert_eq!(server.run::<String>("GET consumer:ids").await, "mine");
}

#[tokio::test]
async fn lanes_of_another_output_are_left_to_whoever_may_delete_them() {
    let server = Server::start().await;
    server.run::<()>(&least("")).await;
    let mut dead = registration(server.client(), 2, Uuid::new_v4());
    dead.register().await.unwrap();
    let lane = dead.about.lanes[0].clone();
    server.run::<()>(&format!("HSET {lane} number 7")).await;

    let mut confined = registration(server.client_of("group"), 1, Uuid::new_v4());
    confined.about.lanes.clear();
    confined.register().await.unwrap();
    let confined = Process::run(confined);
    wait_for_ids(&server, &confined.ids).await;
    sleep(LEASE).await;
    assert!(server.keys().await.contains(&lane));
    confined.stop().await;

    let free = Process::start(&server, 1).await;
    wait_for_leases(&server, 1).await;
    free.stop().await;
    assert_eq!(server.keys().await, [""; 0]);
}

#[tokio::test]
async fn a_permission_that_is_taken_away_later_ends_the_renewals() {
    let server = Server::start().await;
    server.run::<()>(&least("")).await;
    let mut process = registration(server.client_of("group"), 1, Uuid::new_v4());
    process.register().await.unwrap();
    let process = Process::run(process);
    server.run::<()>("ACL SETUSER group -zadd").await;
    assert!(matches!(process.end().await, Err(IdsError::Refused { .. })));
}

#[tokio::test]
async fn a_key_of_another_type_is_fatal_and_left_as_it_is() {
    let keys = ["consumer:ids", "{consumer:ids}:leases", "{consumer:ids}:processes"];
    let server = Server::start().await;
    for key in keys {
        server.run::<()>("FLUSHALL").await;
        server.run::<()>(&format!("SET {key} mine")).await;
        let mut process = registration(server.client(), 2, Uuid::new_v4());
        let error = process.register().await.unwrap_err();
        assert!(matches!(error, IdsError::WrongType { .. }), "{key}: {error}");
        process.release().await.ok();
        assert_eq!(server.run::<String>(&format!("GET {key}")).await, "mine");
        assert_eq!(server.run::<bool>("EXISTS consumer:ids").await, key == "consumer:ids");
    }
}

#[tokio::test]
async fn a_read_only_replica_is_waited_out() {
    let server = Server::start().await;
    let process = Process::start(&server, 2).await;
    server.run::<()>("REPLICAOF 127.0.0.1 1").await;
    sleep(2 * LEASE).await;
    server.run::<()>("REPLICAOF NO ONE").await;
    server.run::<()>("DEL consumer:ids").await;
    wait_for_ids(&server, &process.ids).await;
}

#[tokio::test]
async fn without_a_server_registering_says_so_and_may_be_tried_again() {
    let server = Server::start().await;
    let mut process = registration(server.client(), 2, Uuid::new_v4());
    server.freeze();
    let error = process.register().await.unwrap_err();
    assert!(!error.is_fatal(), "{error}");
    server.thaw();
    process.register().await.unwrap();
    assert_eq!(server.ids().await, texts(&process));
}
