//! Servers and sentinels with different passwords.

use redis_consumer_group::{ConsumerGroup, Error};
use redis_private_server::PrivateServer;

use crate::fixture::{SERVICE, Service, connection};
use crate::load::publish;
use crate::support::acl::rule;
use crate::support::{LIMIT, eventually, settled};

async fn service() -> Service {
    let node = || {
        let node = PrivateServer::builder().password("servers@").arg("masterauth", "servers@");
        node.acl_user("group on >groups ~* &* +@all")
    };
    let sentinel = || {
        let rules = "asker on >askers ~* &* +@all";
        PrivateServer::builder().password("sentinels/").acl_user(rules)
    };
    Service::start_with(node, sentinel).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_and_sentinels_each_get_their_own_password() {
    let mut service = service().await;
    let sentinels = service.sentinels.addrs();
    for url in [
        format!("redis+sentinel://:servers%40@{sentinels}/{SERVICE}?sentinel_password=sentinels%2F"),
        format!(
            "redis+sentinel://group:groups@{sentinels}/{SERVICE}?sentinel_user=asker&sentinel_password=askers"
        ),
    ] {
        let group = ConsumerGroup::builder(url).start().await.unwrap();
        publish(&service, 0, 10).await;
        settled(&group, 10).await;
        assert_eq!(group.shutdown().await.unwrap().processed, 10);
    }
    let url = format!("redis+sentinel://{sentinels}/{SERVICE}?sentinel_password=sentinels%2F");
    let group = ConsumerGroup::builder(url).password("servers@").start().await.unwrap();
    follows_a_failover(&mut service).await;
    group.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rule_for_a_user_at_the_sentinels_is_sufficient() {
    let rule = rule("acl sentinel").join(" ");
    let sentinel = || PrivateServer::builder().acl_user(format!("group {rule}"));
    let mut service = Service::start_with(PrivateServer::builder, sentinel).await;
    let group =
        ConsumerGroup::builder(format!("{}?sentinel_user=group&sentinel_password=password", service.url()));
    let group = group.start().await.unwrap();
    publish(&service, 0, 10).await;
    settled(&group, 10).await;
    follows_a_failover(&mut service).await;
    group.shutdown().await.unwrap();
    for sentinel in service.sentinels.sentinels() {
        let mut connection = connection(&sentinel.unix_url()).await.unwrap();
        let refused: Vec<redis::Value> =
            redis::cmd("ACL").arg("LOG").query_async(&mut connection).await.unwrap();
        assert!(refused.is_empty(), "{refused:?}");
    }
}

#[tokio::test]
async fn the_error_for_a_refused_login_says_whether_a_server_or_a_sentinel_refused_it() {
    let service = service().await;
    let sentinels = service.sentinels.addrs();
    for query in ["?sentinel_password=hush", "?sentinel_user=nobody&sentinel_password=hush", ""] {
        let url = format!("redis+sentinel://:servers%40@{sentinels}/{SERVICE}{query}");
        let error = ConsumerGroup::builder(url).start().await.err().unwrap();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("sentinel") && text.contains("sentinel_password"), "{text}");
        assert!(!text.contains("hush"), "{text}");
    }
    let url = format!("redis+sentinel://:hush@{sentinels}/{SERVICE}?sentinel_password=sentinels%2F");
    let error = ConsumerGroup::builder(url).start().await.err().unwrap();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    let text = error.to_string();
    assert!(!text.contains("sentinel_password") && !text.contains("hush"), "{text}");
}

/// Kills the primary, and waits until the group works at the promoted server.
async fn follows_a_failover(service: &mut Service) {
    service.nodes[0].kill().unwrap();
    service.has_primary(1).await;
    eventually(LIMIT, "the group is at the promoted server", async || {
        !service.connections_of_groups(1).await.is_empty()
    })
    .await;
}
