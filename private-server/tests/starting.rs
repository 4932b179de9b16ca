//! The start of a server, from the builder to the first answer.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod common;

use common::connect;
use redis_private_server::{Error, PrivateServer};

#[tokio::test]
async fn a_server_answers_when_start_returns() {
    let server = PrivateServer::builder().start().await.unwrap();
    connect(&server.url()).await;
    assert_eq!(server.url(), format!("redis://127.0.0.1:{}", server.port()));
    assert!(server.port() < 55_536);
    let (name, number) = server.version().split_once(' ').unwrap();
    assert!(["Redis", "Valkey"].contains(&name), "{name}");
    assert!(number.split('.').count() >= 3, "{number}");
    assert!(server.binary().is_absolute());
}

#[tokio::test]
async fn a_server_answers_on_its_unix_socket() {
    let server = PrivateServer::builder().start().await.unwrap();
    connect(&server.unix_url()).await;
    let server = PrivateServer::builder().password("a/b c&d").start().await.unwrap();
    connect(&server.unix_url()).await;
}

#[tokio::test]
async fn two_servers_do_not_share_data() {
    let (one, other) = tokio::join!(PrivateServer::builder().start(), PrivateServer::builder().start());
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_ne!(one.port(), other.port());
    assert_ne!(one.folder(), other.folder());
    assert_ne!(one.pid(), other.pid());
    let _: () = redis::cmd("SET").arg("k").arg(1).query_async(&mut connect(&one.url()).await).await.unwrap();
    let size: u32 = redis::cmd("DBSIZE").query_async(&mut connect(&other.url()).await).await.unwrap();
    assert_eq!(size, 0);
}

#[tokio::test]
async fn the_server_reads_an_option_as_in_its_configuration_file() {
    let server = PrivateServer::builder()
        .arg("--maxmemory", "10mb")
        .arg("maxclients", 50)
        .arg("client-output-buffer-limit", "pubsub 1mb 1mb 10")
        .start()
        .await
        .unwrap();
    let mut connection = connect(&server.url()).await;
    for (name, expected) in [("maxmemory", "10485760"), ("maxclients", "50"), ("save", "")] {
        let (_, value): (String, String) =
            redis::cmd("CONFIG").arg("GET").arg(name).query_async(&mut connection).await.unwrap();
        assert_eq!(value, expected, "{name}");
    }
}

#[tokio::test]
async fn a_server_can_be_a_node_of_a_cluster() {
    let server = PrivateServer::builder().arg("cluster-enabled", "yes").start().await.unwrap();
    let info: String =
        redis::cmd("CLUSTER").arg("INFO").query_async(&mut connect(&server.url()).await).await.unwrap();
    assert!(info.contains("cluster_known_nodes:1"), "{info}");
}

#[tokio::test]
async fn a_password_is_required_and_is_not_in_the_process_list() {
    let password = "open \"sesame\" \\ @:/é";
    let server = PrivateServer::builder().password(password).start().await.unwrap();
    connect(&server.url()).await;
    let stranger = redis::Client::open(format!("redis://{}", server.addr())).unwrap();
    let mut stranger = stranger.get_multiplexed_async_connection().await.unwrap();
    let refused = redis::cmd("GET").arg("k").query_async::<()>(&mut stranger).await.unwrap_err();
    assert_eq!(refused.code(), Some("NOAUTH"));

    assert!(!format!("{server:?}").contains("sesame"));
    #[cfg(target_os = "linux")]
    for file in ["cmdline", "environ"] {
        let visible = std::fs::read(format!("/proc/{}/{file}", server.pid().unwrap())).unwrap();
        assert!(!String::from_utf8_lossy(&visible).contains("sesame"), "{file}");
    }
}

#[tokio::test]
async fn a_user_has_only_the_permissions_of_its_rules() {
    let server = PrivateServer::builder()
        .acl_user("alice on >wonder ~* &* +@all -flushall")
        .acl_user("default off")
        .start()
        .await
        .unwrap();
    let mut alice = connect(&format!("redis://alice:wonder@{}", server.addr())).await;
    let refused = redis::cmd("FLUSHALL").query_async::<()>(&mut alice).await.unwrap_err();
    assert_eq!(refused.code(), Some("NOPERM"));
}

#[tokio::test]
async fn a_server_that_ends_early_is_an_error_with_the_end_of_its_log() {
    let error = PrivateServer::builder()
        .password("sesame")
        .acl_user("alice on >wonder +no-such-command")
        .arg("no-such-option", "yes")
        .start()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::EndedEarly { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("no-such-option") || text.contains("no-such-command"), "{text}");
    assert!(!text.contains("wonder") && !text.contains("sesame"), "{text}");
}

#[tokio::test]
async fn an_option_that_the_private_server_sets_is_refused() {
    let error = PrivateServer::builder().arg("--port", 6379).start().await.unwrap_err();
    assert!(error.to_string().starts_with("the option \"port\" is decided by the private server"), "{error}");
}

#[tokio::test]
async fn a_missing_binary_is_an_error_that_says_how_to_install_one() {
    let error = PrivateServer::builder().binary("/nowhere/redis-server").start().await.unwrap_err();
    assert!(matches!(error, Error::NotExecutable { .. }));
    let text = error.to_string();
    assert!(text.starts_with("the builder names /nowhere/redis-server, which does not exist"), "{text}");
    assert!(text.contains("install"), "{text}");
}

#[tokio::test]
async fn a_program_that_is_not_a_server_is_refused() {
    let error = PrivateServer::builder().binary("/bin/sh").start().await.unwrap_err();
    assert!(matches!(error, Error::NotAServer { .. }), "{error}");
}
