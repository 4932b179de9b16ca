//! Sentinels that watch a server.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::time::Duration;

use redis_private_server::{PrivateSentinels, PrivateServer};
use tokio::time::{Instant, sleep};

#[tokio::test]
async fn three_sentinels_promote_the_replica_of_a_primary_that_dies() {
    let node = || PrivateServer::builder().password("link").arg("masterauth", "link");
    let mut primary = node().start().await.unwrap();
    let replica = node().arg("replicaof", format!("127.0.0.1 {}", primary.port())).start().await.unwrap();
    let sentinel = || PrivateServer::builder().password("watch");
    let sentinels = PrivateSentinels::start(sentinel, 3, "mymaster", &primary, 1).await.unwrap();
    assert_eq!(sentinels.sentinels().len(), 3);
    assert_eq!(sentinels.primary(0).await.unwrap(), primary.port());
    primary.kill().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while sentinels.primary(0).await.unwrap() != replica.port() {
        assert!(Instant::now() < deadline, "the replica is not promoted");
        sleep(Duration::from_millis(20)).await;
    }
}
