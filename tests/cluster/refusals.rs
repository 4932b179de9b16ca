//! Settings that a cluster does not support, and settings that only a cluster supports.

use redis_consumer_group::{Config, Error, SourceKind};

use crate::fixture::Cluster;
use crate::support::Server;

#[tokio::test]
async fn sharded_channels_of_a_server_that_is_not_a_cluster_are_refused() {
    let server = Server::start().await;
    let error = server.group().source(SourceKind::Sharded).start().await.err().unwrap();
    assert!(matches!(error, Error::Config { option: "source", .. }), "{error}");
    assert!(error.to_string().contains("not a cluster node"), "{error}");
}

#[tokio::test]
async fn names_whose_helper_keys_cannot_share_their_slot_are_refused_on_a_cluster() {
    let cluster = Cluster::start(0).await;
    for name in ["a}b", "x:{}"] {
        let error = cluster.group(1, false).output(name).start().await.err().unwrap();
        assert!(matches!(error, Error::Config { option: "output", .. }), "{error}");
        assert!(error.to_string().contains("slot"), "{error}");
    }
}

#[test]
fn invalid_shards_are_refused_before_the_group_connects() {
    let refused = |change: &dyn Fn(&mut Config)| {
        let mut config = Config::default();
        config.source = SourceKind::Sharded;
        change(&mut config);
        config.validate().unwrap_err().to_string()
    };
    let shards = |config: &mut Config, count, only: &str, tags| {
        let mut shards = redis_consumer_group::Shards::new(count);
        shards.only = (!only.is_empty()).then(|| only.parse().unwrap());
        shards.tags = tags;
        config.shards = Some(shards);
    };
    assert!(refused(&|c| shards(c, 0, "", false)).starts_with("shards: "));
    assert!(refused(&|c| shards(c, 4, "2-4", false)).starts_with("only-shards: "));
    assert!(refused(&|c| (shards(c, 4, "", true), c.output = "{app}:out".into()).0).starts_with("output: "));
    assert!(refused(&|c| (shards(c, 4, "", false), c.source = SourceKind::PubSub).0).starts_with("shards: "));
    assert!(refused(&|c| (shards(c, 10_000, "", false), c.max_payload = 1).0).starts_with("buffer: "));
}
