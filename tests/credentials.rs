//! Passwords and tokens that change while a group runs.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use redis::cmd;
use redis_consumer_group::{ConsumerGroup, Credentials, Error, Failure, Record, SourceKind};
use redis_private_server::PrivateServer;
use support::{IDS, INPUT, LIMIT, OUTPUT, Server, eventually, received, settled};
use tokio::time::{Instant, sleep};

const ALICE: &str = "alice on >first-hush ~* &* +@all";

/// Every `message_id` of the output, sorted.
async fn processed(server: &Server) -> Vec<String> {
    let mut ids: Vec<_> =
        server.output().await.iter().map(|entry| entry.text("message_id").unwrap().to_owned()).collect();
    ids.sort();
    ids
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

#[tokio::test]
async fn a_group_survives_a_new_password_that_the_server_has_first() {
    let server = Server::start_with(PrivateServer::builder().acl_user(ALICE)).await;
    let password = Arc::new(Mutex::new("first-hush"));
    let current = password.clone();
    let group = ConsumerGroup::builder(format!("redis://alice@{}", server.addr()))
        .credentials(move || {
            let password = *current.lock().unwrap();
            async move { Ok(Credentials::new(password)) }
        })
        .consumers(4)
        .processor(|_, message| async move {
            sleep(Duration::from_millis(5)).await;
            let text = String::from_utf8(message.payload().to_vec()).map_err(Failure::reject)?;
            let id = text.split('"').nth(3).unwrap_or_default();
            Ok::<_, Failure>(Record::new().field("message_id", id))
        })
        .start()
        .await
        .unwrap();
    let before = server.publish(500).await;
    received(&group, before.len()).await;
    assert_ne!(group.ledger().in_flight(), 0, "much is in memory yet");

    server.run::<()>("ACL SETUSER alice resetpass >second-hush").await;
    let killed: usize = server.run("CLIENT KILL USER alice").await;
    assert!(killed >= 4, "{killed}");
    // The test: for 3 s only the server knows the new password, so all attempts to log in fail.
    sleep(Duration::from_secs(3)).await;
    let refused: Vec<HashMap<String, redis::Value>> = server.run("ACL LOG").await;
    assert!(!refused.is_empty(), "it has tried the old password");
    *password.lock().unwrap() = "second-hush";

    eventually(LIMIT, "it is subscribed again", async || {
        let (_, subscribed): (String, usize) = server.run(&format!("PUBSUB NUMSUB {INPUT}")).await;
        subscribed == 1
    })
    .await;
    let after = server.publish(100).await;
    settled(&group, before.len() + after.len()).await;
    assert_eq!(processed(&server).await, sorted([before, after].concat()));
    assert_eq!(server.ids().await.len(), 4);
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.received, ledger.processed), (600, 600));
}

#[tokio::test]
async fn a_start_with_a_wrong_password_from_a_provider_fails_at_once() {
    let server = Server::start_with(PrivateServer::builder().acl_user(ALICE)).await;
    let wrong = || async { Ok(Credentials::new("wrong-hush").username("alice")) };
    let start = Instant::now();
    let error = server.group().credentials(wrong).start().await.err().unwrap();
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    let text = format!("{error} {error:?}");
    assert!(text.contains("refused the login: WRONGPASS"), "{text}");
    assert!(text.contains("check the user \"alice\" and its password"), "{text}");
    // The error does not suggest granting a permission.
    assert!(!text.contains("hush") && !text.contains('+'), "{text}");
}

#[tokio::test]
async fn a_provider_that_fails_is_called_again() {
    let server = Server::start_with(PrivateServer::builder().acl_user(ALICE)).await;
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let failing = move || {
        let call = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            if call < 2 {
                return Err("the vault is sealed".into());
            }
            Ok(Credentials::new("first-hush").username("alice"))
        }
    };
    let group = server.group().credentials(failing).start().await.unwrap();
    assert!(calls.load(Ordering::Relaxed) > 2);
    group.shutdown().await.unwrap();

    let sealed = || async { Err::<Credentials, _>("the vault is sealed".into()) };
    let error = server.group().credentials(sealed).start().await.err().unwrap();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("no credentials for the login: the vault is sealed"), "{error}");
    assert!(!error.to_string().contains("redis-cli"), "{error}");
}

/// Returns a new token per time span, and the same token until shortly before it expires.
struct Tokens {
    number: u32,
    expires: SystemTime,
}

impl Tokens {
    const LAST: u32 = 40;
    const LIFE: Duration = Duration::from_secs(2);

    fn current(&mut self) -> Credentials {
        let now = SystemTime::now();
        if self.number == 0 || self.expires < now + Self::LIFE / 2 {
            (self.number, self.expires) = (self.number + 1, now + Self::LIFE);
        }
        Credentials::new("hush").username(format!("token{}", self.number)).expires(self.expires)
    }
}

/// The user of each connection of the group, by the connection's name and id.
async fn users(server: &Server) -> HashMap<(String, String), String> {
    let lines = server.connections_of_groups().await;
    let word = |line: &str, name: &str| {
        let word = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        word.unwrap().to_owned()
    };
    lines.iter().map(|line| ((word(line, "name"), word(line, "id")), word(line, "user"))).collect()
}

#[tokio::test]
async fn open_connections_log_in_again_before_their_token_expires_and_lose_nothing() {
    for source in [SourceKind::PubSub, SourceKind::Stream] {
        let users_of_tokens = (1..=Tokens::LAST).map(|number| format!("token{number} on >hush ~* &* +@all"));
        let builder = users_of_tokens.fold(PrivateServer::builder(), |builder, user| builder.acl_user(&user));
        let server = Server::start_with(builder).await;
        let tokens = Arc::new(Mutex::new(Tokens { number: 0, expires: SystemTime::UNIX_EPOCH }));
        let given = tokens.clone();
        let group = server
            .group()
            .source(source)
            .lease(Duration::from_secs(1))
            .credentials(move || {
                let credentials = given.lock().unwrap().current();
                async move { Ok(credentials) }
            })
            .start()
            .await
            .unwrap();
        let first = users(&server).await;
        let kept: Vec<_> = first
            .keys()
            // Not those of this test, which may still be closing.
            .filter(|(name, _)| name.starts_with("redis-consumer-group"))
            .filter(|(name, _)| !name.ends_with("control") && !name.ends_with("explorer"))
            .collect();
        // Two lanes to the output, the lane for rejected messages, and the reader.
        assert_eq!(kept.len(), 4, "{first:?}");

        // Other connections are replaced at their next use.
        let are_all = |users: &HashMap<_, String>, user: &str| {
            let of_control =
                |((name, _), of): (&(String, String), &String)| name.ends_with("control") && of == user;
            kept.iter().all(|connection| users.get(*connection).is_some_and(|of| of == user))
                && users.iter().any(of_control)
        };

        let mut published = Vec::new();
        let mut connection = server.connection().await;
        let start = Instant::now();
        let latest = async || {
            let number = tokens.lock().unwrap().number;
            (number, users(&server).await)
        };
        loop {
            published.extend(match source {
                SourceKind::Stream => {
                    let id = uuid::Uuid::new_v4().to_string();
                    let mut add = cmd("XADD");
                    add.arg(INPUT)
                        .arg("*")
                        .arg("message_id")
                        .arg(&id)
                        .exec_async(&mut connection)
                        .await
                        .unwrap();
                    vec![id]
                }
                _ => support::publish_on(&mut connection, INPUT, 20).await,
            });
            sleep(Duration::from_millis(5)).await;
            let (number, now) = latest().await;
            let user = format!("token{number}");
            for connection in &kept {
                assert!(now.contains_key(*connection), "{source:?}: {connection:?} was replaced: {now:?}");
            }
            if number >= 4 && are_all(&now, &user) {
                break;
            }
            assert!(start.elapsed() < LIMIT, "{source:?}: {user}, {now:?}");
        }

        // Idle connections as well.
        settled(&group, published.len()).await;
        let number = tokens.lock().unwrap().number;
        eventually(LIMIT, "idle connections log in again", async || {
            let (later, now) = latest().await;
            later > number && are_all(&now, &format!("token{later}"))
        })
        .await;

        assert_eq!(processed(&server).await, sorted(published));
        assert_eq!(server.length(OUTPUT).await, group.ledger().received as usize);
        assert_eq!(server.ids().await.len(), 3, "{IDS}");
        let ledger = group.shutdown().await.unwrap();
        assert_eq!((ledger.gaps.count, ledger.in_flight(), ledger.abandoned), (0, 0, 0), "{source:?}");
    }
}
