//! The output of `ids`.

use tokio::time::sleep;
use uuid::Uuid;

use super::process::{LEASE, Process, registration, texts};
use super::server::Server;
use crate::redis::ids::{Lease, list};

#[tokio::test]
async fn ids_are_listed_oldest_first_with_the_age_of_their_lease() {
    let server = Server::start().await;
    let mut dead = registration(server.client(), 2, Uuid::new_v4());
    dead.register().await.unwrap();
    sleep(LEASE + LEASE / 5).await;
    server.run::<()>("RPUSH consumer:ids another-program").await;
    let alive = Process::start(&server, 1).await;

    let listed = list(&mut server.connection().await, "consumer:ids").await.unwrap();
    let ids: Vec<_> = listed.iter().map(|listed| listed.id.clone()).collect();
    assert_eq!(ids, [&texts(&dead)[..], &["another-program".into()], &alive.ids].concat());

    assert_eq!(listed[0].process, Some(dead.process.to_string()));
    assert!(matches!(listed[1].lease, Lease::Lapsed { since } if since < LEASE), "{:?}", listed[1]);
    assert_eq!((listed[2].process.clone(), listed[2].lease), (None, Lease::None));
    let Lease::Live { renewed: Some(renewed), left } = listed[3].lease else { panic!("{:?}", listed[3]) };
    assert!(renewed < LEASE / 2 && renewed + left == LEASE, "{renewed:?} {left:?}");
}

#[tokio::test]
async fn bytes_that_are_not_utf_8_in_our_keys_do_no_harm() {
    let server = Server::start().await;
    let mut process = registration(server.client(), 1, Uuid::new_v4());
    process.register().await.unwrap();
    let now = server.run::<(u64, u64)>("TIME").await.0 * 1000;
    let binary: &[u8] = b"\xff\xfe";
    let mut connection = server.connection().await;
    let (key, leases, processes) = ("consumer:ids", "{consumer:ids}:leases", "{consumer:ids}:processes");
    let foreign = Uuid::new_v4().to_string();
    redis::pipe()
        .rpush(key, binary)
        .zadd(leases, binary, now + 100_000)
        .zadd(leases, b"\xfd", 1)
        .hset(processes, binary, binary)
        .zadd(leases, &foreign, now + 100_000)
        .hset(processes, &foreign, binary)
        .exec_async(&mut connection)
        .await
        .unwrap();

    let listed = list(&mut connection, key).await.unwrap();
    let ids: Vec<_> = listed.iter().map(|listed| listed.id.clone()).collect();
    assert_eq!(ids, [&texts(&process)[..], &["\u{fffd}\u{fffd}".into()]].concat());
    // Reads binary names among living and lapsed processes, and asks for their descriptions.
    process.register().await.unwrap();
    process.release().await.unwrap();
}

#[tokio::test]
async fn an_empty_list_is_no_error() {
    let server = Server::start().await;
    assert_eq!(list(&mut server.connection().await, "consumer:ids").await.unwrap(), []);
}
