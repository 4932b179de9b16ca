//! The ACL rule of docs/permissions.md for sharded channels is sufficient, and each word of it is necessary.

use redis_consumer_group::{ConsumerGroup, Shards, SourceKind};

use crate::fixture::{Cluster, input, settled};
use crate::support::acl::rule;
use crate::support::payload;

/// The complete rule.
fn words() -> Vec<&'static str> {
    let mut words = rule("acl sharded");
    let others = rule("acl").into_iter().filter(|word| word.starts_with('+'));
    words.extend(others.filter(|word| !["+subscribe", "+unsubscribe"].contains(word)));
    words
}

async fn grant(cluster: &Cluster, words: &[&str]) {
    for node in 0..3 {
        cluster.at::<()>(node, &format!("ACL SETUSER group {}", words.join(" "))).await;
        cluster.at::<()>(node, "ACL LOG RESET").await;
    }
}

/// How many commands, keys and channels the nodes have refused.
async fn refused(cluster: &Cluster) -> usize {
    let mut refused = 0;
    for node in 0..3 {
        refused += cluster.at::<Vec<redis::Value>>(node, "ACL LOG").await.len();
    }
    refused
}

/// Starts a group as that user, lets it append and reject, and stops it, as far as it gets. Returns its number of gaps.
async fn live(cluster: &Cluster, tags: bool) -> Result<u64, String> {
    let mut shards = Shards::new(3);
    shards.tags = tags;
    let url = format!("redis://group:password@{}", cluster.cluster.nodes()[0].addr());
    let group = ConsumerGroup::builder(url).source(SourceKind::Sharded).shards(shards);
    let group = group.start().await.map_err(|error| error.to_string())?;
    let mut connection = cluster.connection().await;
    for shard in 0..3 {
        for payload in [&payload("1"), "no JSON"] {
            let mut spublish = redis::cmd("SPUBLISH");
            spublish.arg(input(shard, tags)).arg(payload);
            spublish.exec_async(&mut connection).await.unwrap();
        }
    }
    settled(&group, 6).await;
    let ledger = group.shutdown().await.map_err(|error| error.to_string())?;
    assert_eq!((ledger.processed, ledger.rejected), (3, 3), "{ledger}");
    Ok(ledger.gaps.count)
}

#[tokio::test]
async fn the_rule_is_sufficient_and_each_of_its_words_is_necessary() {
    let cluster = Cluster::start(0).await;
    let words = words();
    grant(&cluster, &words).await;
    for tags in [false, true] {
        assert_eq!(live(&cluster, tags).await, Ok(0));
        assert_eq!(refused(&cluster).await, 0);
    }
    // tests/acl.rs tests the words that it shares with the rule for a plain channel.
    let plain = rule("acl");
    for word in words.iter().filter(|word| !plain.contains(word)) {
        let rest: Vec<_> = words.iter().copied().filter(|other| other != word).collect();
        grant(&cluster, &rest).await;
        let end = live(&cluster, false).await;
        assert!(refused(&cluster).await > 0, "{word} is never asked for");
        // Without `CLUSTER INFO` the group also trusts a node that is cut off, and here no node is cut off.
        assert!(end != Ok(0) || *word == "+cluster|info", "without {word} nothing is missing");
    }
}
