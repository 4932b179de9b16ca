//! The ACL rule of docs/permissions.md is sufficient for everything a group does, and each word of it is necessary.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use redis::cmd;
use redis_consumer_group::ConsumerGroup;
use support::acl::{grant, refusals, rule};
use support::{INPUT, LIMIT, OUTPUT, REJECTED, Server, eventually, judge, publish_on, received};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Permissions that a group can work without; docs/permissions.md says how.
const OPTIONAL: [&str; 2] = ["+info", "+ping"];

/// The result of one run of a group.
#[derive(Debug, Default)]
struct Life {
    /// Why the group did not start, or why it ended.
    error: Option<String>,
    gaps: u64,
    left: Vec<String>,
    refused: Vec<String>,
    published: Vec<String>,
}

/// Starts a group, lets it append and reject, and stops it, as far as its permissions allow. A second group, whose user
/// has all permissions, works on other channels at the same time.
async fn live(server: &Server, until: impl AsyncFn() -> bool) -> Life {
    let neighbour = server.group().input("another").output("another:output").rejected("another:rejected");
    let neighbour = neighbour.start().await.unwrap();
    let url = format!("redis://group:password@{}", server.addr());
    let mut life = Life::default();
    match timeout(LIMIT, ConsumerGroup::builder(url).start()).await.unwrap() {
        Err(error) => life.error = Some(error.to_string()),
        Ok(group) => {
            let mut connection = server.connection().await;
            life.published = publish_on(&mut connection, INPUT, 100).await;
            cmd("PUBLISH").arg(INPUT).arg("no JSON").exec_async(&mut connection).await.unwrap();
            received(&group, 101).await;
            eventually(LIMIT, "what the test waits for", &until).await;
            match timeout(LIMIT, group.shutdown()).await.unwrap() {
                Err(error) => life.error = Some(error.to_string()),
                Ok(ledger) => {
                    life.gaps = ledger.gaps.count;
                    assert_eq!(
                        (ledger.processed, ledger.rejected),
                        (100, 1),
                        "{ledger}; {:?}",
                        refusals(server).await
                    );
                }
            }
        }
    }
    neighbour.shutdown().await.unwrap();
    life.left = server.keys().await;
    life.left.retain(|key| key != OUTPUT && key != REJECTED);
    life.refused = refusals(server).await;
    life
}

#[tokio::test]
async fn the_rule_is_sufficient_from_start_to_stop() {
    let server = Server::start().await;
    grant(&server, &rule("acl")).await;
    let mut published = Vec::new();
    for _ in 0..2 {
        let life = live(&server, async || true).await;
        assert_eq!((life.error, life.gaps), (None, 0));
        assert_eq!((life.left, life.refused), (Vec::new(), Vec::new()));
        published.extend(life.published);
    }
    judge(&published, &server.output().await).assert_flawless();
    assert_eq!(server.rejected().await.len(), 2);
}

/// Removes each word of the rule in turn, except `reset`, `on` and the password. Each word has its own server.
#[tokio::test(flavor = "local")]
async fn each_word_of_the_rule_is_necessary() {
    let rule = rule("acl");
    let words: Vec<_> = rule.iter().copied().filter(|word| word.starts_with(['+', '~', '&'])).collect();
    assert_eq!(words.len(), rule.len() - 3);
    let few = Arc::new(Semaphore::new(6));
    let mut lives = JoinSet::new();
    for word in words {
        let rest: Vec<_> = rule.iter().copied().filter(|other| *other != word).collect();
        let few = few.clone();
        lives.spawn_local(async move {
            let _turn = few.acquire_owned().await.unwrap();
            let server = Server::start().await;
            grant(&server, &rest).await;
            let optional = OPTIONAL.contains(&word);
            // A group sends PING after 2 s of silence.
            let until = async || !optional || !refusals(&server).await.is_empty();
            let life = live(&server, until).await;
            assert!(!life.refused.is_empty(), "{word} is never asked for");
            if optional {
                assert_eq!((&life.error, life.gaps, life.left.len()), (&None, 0, 0), "{word}");
            } else {
                let noticed = life.error.is_some() || life.gaps > 0 || !life.left.is_empty();
                assert!(noticed, "without {word} nothing is missing: {life:?}");
            }
            if let Some(error) = life.error {
                let named = word.trim_start_matches(['~', '&']).trim_end_matches(":*");
                assert!(error.contains(named), "without {word}: {error}");
            }
            word
        });
    }
    let tested = timeout(Duration::from_secs(120), lives.join_all()).await.unwrap();
    assert!(tested.len() > 30, "{tested:?}");
}
