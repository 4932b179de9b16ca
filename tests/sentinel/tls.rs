//! Servers and sentinels that use TLS.

use redis_consumer_group::Tls;
use redis_private_server::{Certificates, ClientCertificates, PrivateServer};

use crate::fixture::Service;
use crate::load::publish;
use crate::support::{INPUT, LIMIT, eventually, settled};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_connection_to_servers_and_sentinels_uses_tls_even_after_a_failover() {
    let certificates = Certificates::make().unwrap();
    let speaks_tls = || PrivateServer::builder().tls_with(ClientCertificates::Ignored, &certificates);
    let mut service = Service::start_with(speaks_tls, speaks_tls).await;
    let mut tls = Tls::default();
    tls.ca = Some(certificates.ca().to_owned());
    assert!(service.url().starts_with("rediss+sentinel://"));
    let group = service.group().tls(tls).start().await.unwrap();
    publish(&service, 0, 10).await;
    settled(&group, 10).await;
    service.nodes[0].kill().unwrap();
    service.has_primary(1).await;
    eventually(LIMIT, "the channel is subscribed at the promoted server", async || {
        service.run::<Vec<String>>(1, "PUBSUB CHANNELS").await.iter().any(|name| name == INPUT)
    })
    .await;
    publish(&service, 1, 10).await;
    settled(&group, 20).await;
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.processed, ledger.gaps.count), (20, 1), "{ledger}");
}
