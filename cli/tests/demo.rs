//! `demo` runs, and leaves nothing behind.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::net::TcpStream;
use std::path::Path;

use rustix::process::Signal;
use support::{Running, Said, program, run};
use tempfile::TempDir;

/// A demo with its own folder for temporary files.
fn demo(duration: &str) -> (Running, TempDir) {
    demo_of("pubsub", duration)
}

fn demo_of(source: &str, duration: &str) -> (Running, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program(&["demo", "--source", source, "--duration", duration]);
    (Running::start(command.env("TMPDIR", folder.path())), folder)
}

/// `127.0.0.1:PORT` of the private server, once it runs.
fn address_of_server(program: &mut Running) -> String {
    let line = program.wait_for(" runs at ");
    line.trim_end().trim_end_matches('.').rsplit(' ').next().unwrap().to_owned()
}

fn assert_nothing_is_left(folder: &Path) {
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.is_empty(), "{files:?}");
    let processes = processes_in(folder);
    assert!(processes.is_empty(), "{processes:?}");
}

/// Processes that work in the folder or name it. Needs `/proc`; empty without it.
fn processes_in(folder: &Path) -> Vec<String> {
    processes_with(folder.to_str().unwrap())
}

/// Processes that work in the folder with this name, or have this word in their command line.
fn processes_with(folder: &str) -> Vec<String> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    processes
        .filter_map(|entry| {
            let process = entry.ok()?.path();
            let line = String::from_utf8_lossy(&fs::read(process.join("cmdline")).ok()?).replace('\0', " ");
            let works_in = fs::read_link(process.join("cwd")).unwrap_or_default();
            (line.contains(folder) || works_in.starts_with(folder)).then_some(line)
        })
        .collect()
}

fn assert_flawless(said: &Said) {
    let Said { code, stdout, stderr } = said;
    assert_eq!(*code, 0, "{stdout}{stderr}");
    let (_, counted) = stdout.split_once("Counted from the stream").expect(stdout);
    let number = |name: &str| -> u64 {
        let line = counted.lines().find(|line| line.trim_start().starts_with(name));
        line.and_then(|line| line.split_whitespace().last()).expect(stdout).parse().unwrap()
    };
    assert!(number("Published") > 0, "{stdout}");
    assert_eq!(number("Processed"), number("Published"), "{stdout}");
    assert_eq!((number("Lost"), number("Duplicated")), (0, 0), "{stdout}");
    assert!(stderr.contains("load --redis-addr localhost:6379"), "{stderr}");
}

fn consumers(said: &Said) -> usize {
    said.stdout.lines().filter(|line| line.starts_with("  Consumer ")).count()
}

#[tokio::test]
async fn the_demo_loses_nothing_and_leaves_nothing_behind() {
    let (mut program, folder) = demo("2s");
    let address = address_of_server(&mut program);
    assert!(!processes_in(folder.path()).is_empty() || !Path::new("/proc").exists());
    let said = program.end().await;
    assert_flawless(&said);
    assert_eq!(consumers(&said), 3);
    let Said { stdout, stderr, .. } = said;
    assert!(stderr.contains("--consumers 4"), "{stderr}");
    assert!(stdout.contains("messages in the last second."), "{stdout}");
    assert!(stderr.contains("Redis ") || stderr.contains("Valkey "), "{stderr}");
    assert!(TcpStream::connect(address).is_err());
    assert_nothing_is_left(folder.path());
}

#[tokio::test]
async fn a_killed_process_loses_and_duplicates_no_message_of_the_stream() {
    let (mut program, folder) = demo_of("stream", "2s");
    let address = address_of_server(&mut program);
    let killed = program.wait_for("Killed process ");
    let pid = killed.split([' ', ';']).nth(2).unwrap();
    let said = program.end().await;
    assert_flawless(&said);
    assert_eq!(consumers(&said), 9);
    let Said { stdout, stderr, .. } = said;
    assert!(stdout.contains(&format!("  Process {pid}, killed\n")), "{stdout}");
    let ledgers = stdout.lines().filter(|line| line.contains(": received "));
    assert_eq!(ledgers.clone().count(), 2, "{stdout}");
    assert!(ledgers.clone().any(|line| line.contains(" of the received were taken over")), "{stdout}");
    assert!(stderr.contains("--source stream"), "{stderr}");
    assert_eq!(processes_with(&address), [""; 0]);
    assert_nothing_is_left(folder.path());
}

#[tokio::test]
async fn the_processes_of_a_killed_demo_end_with_it() {
    let (mut program, folder) = demo_of("stream", "10m");
    let address = address_of_server(&mut program);
    program.wait_for("Publishing");
    if Path::new("/proc").exists() {
        // The server has its address in its process title.
        assert_eq!(processes_with(&address).len(), 3, "{:?}", processes_with(&address));
    }
    // Kills it.
    drop(program);
    // A guard ends them. A process that is exiting has no command line any more but may still hold its port.
    let until = tokio::time::Instant::now() + std::time::Duration::from_secs(40);
    let is_there = || {
        let processes = [processes_with(&address), processes_in(folder.path())].concat();
        !processes.is_empty() || folder.path().read_dir().unwrap().count() > 0
    };
    while is_there() || TcpStream::connect(&address).is_ok() {
        assert!(tokio::time::Instant::now() < until, "{:?}", processes_with(&address));
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_slot_that_moves_and_a_node_that_dies_lose_no_received_message() {
    let (mut program, folder) = demo_of("sharded", "6s");
    program.wait_for("Shard 0 has moved from ");
    program.wait_for("is killed");
    let Said { code, stdout, stderr } = program.end().await;
    assert_eq!(code, 0, "{stdout}\n{stderr}");
    assert!(stdout.contains("Each received message is in the output once."), "{stdout}");
    let shards = stdout.lines().skip_while(|line| !line.contains("Received  In the output")).skip(1).take(6);
    let with_gaps = shards.filter(|line| !line.ends_with("none")).count();
    assert!((2..6).contains(&with_gaps), "{stdout}");
    assert!(stderr.contains("--source sharded --shards 6 --shard-tags"), "{stderr}");
    assert_nothing_is_left(folder.path());
}

#[tokio::test]
async fn the_client_in_the_next_steps_fits_the_server_and_not_the_folder_that_it_is_in() {
    let server = redis_private_server::PrivateServer::builder().start().await.unwrap();
    let (client, other) = match server.version().starts_with("Valkey ") {
        true => ("valkey-cli", "redis"),
        false => ("redis-cli", "valkey"),
    };
    let folder = tempfile::tempdir().unwrap();
    let named_like_the_other = folder.path().join(format!("{other}-server"));
    std::os::unix::fs::symlink(server.binary(), &named_like_the_other).unwrap();
    for source in ["pubsub", "sharded"] {
        let demo = ["demo", "--source", source, "--duration", "1s"];
        let mut program = program(&demo);
        let end = Running::start(program.env("REDIS_SERVER", &named_like_the_other)).end().await;
        let next = end.stderr.lines().rfind(|line| line.contains("XRANGE")).unwrap();
        assert!(next.trim_start().starts_with(client), "{source}: {next}");
    }
}

#[tokio::test]
async fn an_interrupted_demo_counts_its_messages_and_leaves_nothing_behind() {
    for (source, signal) in [("pubsub", Signal::INT), ("pubsub", Signal::TERM), ("stream", Signal::INT)] {
        let (mut program, folder) = demo_of(source, "10m");
        program.wait_for("Publishing");
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        program.signal(signal);
        assert_flawless(&program.end().await);
        assert_nothing_is_left(folder.path());
    }
}

#[tokio::test]
async fn a_demo_interrupted_during_its_start_leaves_nothing_behind() {
    for (source, after) in [
        ("pubsub", "Starting"),
        ("pubsub", " runs at "),
        ("stream", " runs at "),
        ("stream", "nobody reads"),
        ("sharded", "Starting"),
        ("sharded", "first at "),
    ] {
        let (mut program, folder) = demo_of(source, "10m");
        program.wait_for(after);
        program.signal(Signal::TERM);
        let said = program.end().await;
        assert_eq!(said.code, 0, "{}", said.stderr);
        assert_nothing_is_left(folder.path());
    }
}

#[tokio::test]
async fn a_second_signal_ends_the_demo_at_once_and_leaves_nothing_behind() {
    for source in ["pubsub", "stream"] {
        let (mut program, folder) = demo_of(source, "10m");
        let address = address_of_server(&mut program);
        program.wait_for("Publishing");
        program.signal(Signal::INT);
        program.signal(Signal::TERM);
        // The demo may have counted before the second signal arrived, so its exit code is not checked.
        program.end().await;
        assert_nothing_is_left(folder.path());
        assert_eq!(processes_with(&address), [""; 0]);
    }
}

#[tokio::test]
async fn a_server_that_ends_during_the_demo_ends_it_with_the_reason() {
    for source in ["pubsub", "stream"] {
        let (mut program, folder) = demo_of(source, "10m");
        let address = address_of_server(&mut program);
        program.wait_for("Publishing");
        let client = redis::Client::open(format!("redis://{address}")).unwrap();
        let mut connection = client.get_connection().unwrap();
        // The server closes the connection instead of replying.
        let _ = redis::cmd("SHUTDOWN").arg("NOSAVE").exec(&mut connection);
        let Said { code, stderr, .. } = program.end().await;
        assert_eq!(code, 69, "{source}: {stderr}");
        assert!(stderr.contains("error: "), "{stderr}");
        assert_nothing_is_left(folder.path());
        assert_eq!(processes_with(&address), [""; 0]);
    }
}

#[tokio::test]
async fn a_process_that_ends_by_itself_ends_the_demo_and_its_output_is_shown() {
    let (mut program, folder) = demo_of("stream", "10m");
    let address = address_of_server(&mut program);
    program.wait_for("Publishing");
    let mut connection = redis::Client::open(format!("redis://{address}")).unwrap().get_connection().unwrap();
    redis::cmd("ACL").arg(&["SETUSER", "default", "-xreadgroup"]).exec(&mut connection).unwrap();
    let Said { code, stderr, .. } = program.end().await;
    assert_eq!(code, 77, "{stderr}");
    assert!(stderr.contains("Its output:") && stderr.contains("xreadgroup"), "{stderr}");
    assert_eq!(processes_with(&address), [""; 0]);
    assert_nothing_is_left(folder.path());
}

#[test]
fn without_a_server_the_demo_says_which_command_installs_one() {
    let nowhere = tempfile::tempdir().unwrap();
    let mut demo = program(&["demo"]);
    let Said { code, stdout, stderr } = run(demo.env("PATH", nowhere.path()).env_remove("REDIS_SERVER"));
    assert_eq!(code, 69, "{stderr}");
    assert!(stderr.contains("install"), "{stderr}");
    assert_eq!(stdout, "");
}
