//! Permanent failures end the group and give the reason.

use std::time::Duration;

use redis_consumer_group::{ConsumerGroup, Error, Failure, Ledger, Record};
use redis_private_server::PrivateServer;

use crate::fixture::{Fixture, INPUT, OUTPUT, connect, eventually, order};
use crate::judge::{Witness, appended, judge};
use crate::load::Load;

/// Waits until a group ends by itself. Returns its error and its ledger.
async fn end_of(group: &mut ConsumerGroup) -> (Error, Ledger) {
    let end = tokio::time::timeout(Duration::from_secs(15), group.join()).await;
    let error = end.expect("the group ends").expect_err("with an error");
    (error, group.join().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_that_becomes_a_string_ends_the_group() {
    let server = PrivateServer::builder().start().await.unwrap();
    let Fixture { server, mut group, witness, load } = Fixture::at(server, 5_000).await;
    let mut redis = connect(&server.url()).await;
    redis::pipe().atomic().del(OUTPUT).set(OUTPUT, "x").exec_async(&mut redis).await.unwrap();
    let (error, ledger) = end_of(&mut group).await;
    assert!(matches!(&error, Error::WrongType { key, option: "output", .. } if key == OUTPUT), "{error}");
    assert!(ledger.abandoned > 0, "{ledger}");
    assert_eq!(ledger.received, ledger.processed + ledger.abandoned, "{ledger}");
    assert!(witness.count() as u64 >= ledger.processed, "{ledger}");
    load.stop().await;
    let left: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut redis).await.unwrap();
    assert_eq!(left, [OUTPUT]);
}

/// A group that logs in as its own user.
async fn as_a_user() -> Fixture {
    let server = PrivateServer::builder().acl_user("group on >secret ~* &* +@all").start().await.unwrap();
    let witness = Witness::default();
    let url = format!("redis://group:secret@{}", server.addr());
    let group = witness.beside(ConsumerGroup::builder(url)).start().await.unwrap();
    let load = Load::start(server.addr(), INPUT, 5_000);
    let fixture = Fixture { server, group, witness, load };
    fixture.goes_on().await;
    fixture
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permission_that_is_revoked_ends_the_group_with_an_error_that_names_it() {
    let Fixture { server, mut group, witness, load } = as_a_user().await;
    let mut redis = connect(&server.url()).await;
    order(&mut redis, "ACL SETUSER group -xadd").await;
    let (error, ledger) = end_of(&mut group).await;
    assert!(matches!(&error, Error::Refused { .. }), "{error}");
    assert!(error.to_string().contains("+xadd"), "{error}");
    assert!(ledger.abandoned > 0, "{ledger}");
    let published = load.stop().await;
    judge(&published, &witness, &appended(&mut redis, OUTPUT).await, &ledger);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_is_changed_ends_the_group_when_it_reconnects() {
    let Fixture { server, mut group, witness, load } = as_a_user().await;
    let mut redis = connect(&server.url()).await;
    let before = load.published();
    order(&mut redis, "ACL SETUSER group resetpass >other").await;
    order(&mut redis, "CLIENT KILL USER group").await;
    let (error, ledger) = end_of(&mut group).await;
    assert!(matches!(&error, Error::Refused { .. } | Error::Ids { .. }), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
    load.stop().await;
    judge(&before, &witness, &appended(&mut redis, OUTPUT).await, &ledger);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_is_revoked_ends_the_group_after_received_messages_are_appended() {
    let Fixture { server, mut group, witness, load } = as_a_user().await;
    let mut redis = connect(&server.url()).await;
    let before = load.published();
    // The server disconnects the subscribers of a channel that their user may no longer read.
    order(&mut redis, "ACL SETUSER group resetchannels").await;
    let (error, ledger) = end_of(&mut group).await;
    assert!(matches!(&error, Error::Refused { .. }), "{error}");
    assert!(error.to_string().contains("&messages:published"), "{error}");
    assert_eq!(ledger.abandoned, 0, "{ledger}");
    load.stop().await;
    judge(&before, &witness, &appended(&mut redis, OUTPUT).await, &ledger);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_continues_and_reports_when_the_permission_for_the_ids_is_revoked() {
    let server = PrivateServer::builder().acl_user("group on >secret ~* &* +@all").start().await.unwrap();
    let witness = Witness::default();
    let url = format!("redis://group:secret@{}", server.addr());
    let mut group = ConsumerGroup::builder(url)
        .lease(Duration::from_millis(600))
        .processor({
            let witness = witness.clone();
            move |consumer, message| {
                let record = witness.note(&consumer, &message);
                async move {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    Ok::<_, Failure>(record)
                }
            }
        })
        .start()
        .await
        .unwrap();
    let load = Load::start(server.addr(), INPUT, 1_000);
    eventually("they are behind", async || group.ledger().in_flight() > 400).await;
    let published = load.stop().await;
    group.stop();
    order(&mut connect(&server.url()).await, "ACL SETUSER group -eval").await;
    let (error, ledger) = end_of(&mut group).await;
    assert!(matches!(&error, Error::Ids { .. }), "{error}");
    assert_eq!((ledger.abandoned, ledger.gaps.count), (0, 0), "{ledger}");
    judge(&published, &witness, &appended(&mut connect(&server.url()).await, OUTPUT).await, &ledger);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_the_server_rejects_as_a_protocol_error_ends_the_group() {
    let server = PrivateServer::builder().arg("proto-max-bulk-len", "1mb").start().await.unwrap();
    let mut group = ConsumerGroup::builder(server.url())
        .processor(|_, _| async { Ok::<_, Failure>(Record::new().field("f", "x".repeat(3 << 20))) })
        .start()
        .await
        .unwrap();
    order(&mut connect(&server.url()).await, &format!("PUBLISH {INPUT} 0")).await;
    let (error, ledger) = end_of(&mut group).await;
    assert!(matches!(&error, Error::Protocol { .. }), "{error}");
    assert!(error.to_string().contains("invalid bulk length"), "{error}");
    assert_eq!((ledger.received, ledger.abandoned), (1, 1), "{ledger}");
}
