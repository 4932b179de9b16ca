//! A password is never shown, no matter where it was given and what error occurs.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use redis_private_server::PrivateServer;
use rustix::process::Signal;
use support::{Running, Said, file, program, run};

const URLS: &[&str] = &[
    "redis://u:hush@h:port",
    "redis://u:hush@h/x",
    "redis://u:12/hush@h",
    "redis://u:12#hush@h",
    "redis://u:12?hush@h",
    "redis://:hush@",
    "http://u:hush@h",
    "unix:///s?pass=a&hush",
    "unix://?pass=hush",
    "u:hush@h:6379",
    "redis+sentinel://u:hush@h",
    "redis+sentinel://u:hush@h:port/s",
    "redis+sentinel://u:12/hush@h/s",
    "redis+sentinel://h/s?sentinel_password=a&hush",
];

fn is_kept(end: &Said, codes: &[i32], place: &str) {
    assert!(codes.contains(&end.code), "{place}: {} {}", end.code, end.stderr);
    for text in [&end.stdout, &end.stderr] {
        assert!(!text.contains("hush"), "{place}: {text}");
    }
}

#[test]
fn a_password_is_not_shown_when_its_url_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    for url in URLS {
        is_kept(&run(&mut program(&["--url", url])), &[2], url);
        is_kept(&run(&mut program(&["ids", "--url", url])), &[2], url);
        is_kept(&run(&mut program(&["--redis-addr", url])), &[2], url);
        is_kept(&run(program(&[]).env("RCG_URL", url)), &[78], url);
        is_kept(&run(program(&[]).env("REDIS_URL", url)), &[78], url);
        let config = file(folder.path(), "group.toml", &format!("url = '{url}'"));
        is_kept(&run(&mut program(&["--config", &config])), &[78], url);
        // Without quotes this is not TOML.
        let config = file(folder.path(), "group.toml", &format!("url = {url}"));
        is_kept(&run(&mut program(&["--config", &config])), &[78], url);
    }
}

#[test]
fn a_password_is_not_shown_when_it_is_in_the_wrong_place() {
    let url = "redis://user:hush@localhost";
    is_kept(&run(&mut program(&[url])), &[2], "a subcommand");
    is_kept(&run(&mut program(&["run", url])), &[2], "an argument");
    is_kept(&run(&mut program(&["--consumers", url])), &[2], "a number");
    is_kept(&run(&mut program(&["--overflow", url])), &[2], "a word");
    is_kept(&run(&mut program(&["--ur", url])), &[2], "an unknown flag");
    is_kept(&run(&mut program(&[&format!("--urll={url}")])), &[2], "an unknown flag with its value");
    is_kept(&run(program(&[]).env("RCG_CONSUMERS", url)), &[78], "a number in a variable");
    is_kept(&run(&mut program(&["--config", url])), &[78], "a file");
}

#[test]
fn no_part_of_a_password_with_white_space_is_shown() {
    for url in ["redis://u:hu sh pw@h:1", "redis://u:a hush@h:1", "unix:///s?pass=a hush"] {
        is_kept(&run(&mut program(&["--consumers", url])), &[2], "a number");
        is_kept(&run(&mut program(&["--overflow", url])), &[2], "a word");
        is_kept(&run(&mut program(&[url])), &[2], "a subcommand");
        is_kept(&run(program(&[]).env("RCG_CONSUMERS", url)), &[78], "a number in a variable");
        is_kept(&run(&mut program(&["--config", url])), &[78], "a file");
        let end = run(&mut program(&["--consumers", url]));
        assert!(!end.stderr.contains("sh pw"), "{}", end.stderr);
    }
}

#[tokio::test]
async fn a_password_that_changes_while_a_group_runs_is_read_again_and_never_shown() {
    let server = PrivateServer::builder().password("hush-1").start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "password", "hush-1\n");
    let open = || redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let (mut orders, mut publisher) = (open(), open());
    let publish = |connection: &mut redis::Connection, from: usize| {
        let mut pipeline = redis::pipe();
        for id in from..from + 100 {
            pipeline.publish("messages:published", format!(r#"{{"message_id":"{id}"}}"#)).ignore();
        }
        pipeline.exec(connection).unwrap();
    };
    let addr = server.addr();
    let reports = ["--json", "--report-every", "50ms"];
    let options = ["--redis-addr", &addr, "--password-file", &path];
    let mut group = Running::start(program(&options).args(reports));
    group.wait_for_consumers(3);
    let mut set = |name: &str, value: &str| {
        redis::cmd("CONFIG").arg("SET").arg(name).arg(value).exec(&mut publisher).unwrap();
    };
    // Appends are refused, so received messages stay in memory.
    set("min-replicas-to-write", "1");
    publish(&mut orders, 0);
    while !group.line().contains(r#""received":100,"#) {}

    set("requirepass", "hush-2");
    set("min-replicas-to-write", "0");
    for kind in ["normal", "pubsub"] {
        redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg(kind).exec(&mut orders).unwrap();
    }
    // The file does not have the new password yet.
    group.wait_for("the login was refused, as \"default\" (WRONGPASS");
    file(folder.path(), "password", "hush-2\n");
    let until = tokio::time::Instant::now() + support::TIMEOUT;
    let channel = "messages:published";
    loop {
        let (_, subscribed): (String, usize) =
            redis::cmd("PUBSUB").arg("NUMSUB").arg(channel).query(&mut orders).unwrap();
        if subscribed == 1 {
            break;
        }
        assert!(tokio::time::Instant::now() < until, "{}", group.log);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    publish(&mut orders, 100);
    group.signal(Signal::TERM);
    let end = group.end().await;
    is_kept(&end, &[0], "a file");
    let last = end.stdout.lines().last().unwrap();
    let ledger: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!((&ledger["received"], &ledger["processed"]), (&200.into(), &200.into()), "{last}");
    let appended: usize = redis::cmd("XLEN").arg("messages:processed").query(&mut orders).unwrap();
    assert_eq!(appended, 200);

    // The other subcommands read the file too, and are refused with a wrong password.
    let ids = run(&mut program(&["ids", "--redis-addr", &addr, "--password-file", &path]));
    is_kept(&ids, &[0], "ids");
    let wrong = file(folder.path(), "wrong", "hush-1\n");
    for args in [&["run"][..], &["ids"]] {
        let end = run(program(args).args(["--redis-addr", &addr, "--password-file", &wrong]));
        is_kept(&end, &[77], "a wrong one");
        assert!(end.stderr.contains("check the user \"default\" and its password"), "{}", end.stderr);
        assert!(!end.stderr.contains('+'), "nothing to grant: {}", end.stderr);
    }
}
