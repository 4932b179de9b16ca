//! `load` is stopped by a signal.

use std::time::Duration;

use rustix::process::Signal;

use crate::fixture::{called, end, entries, number, published, start, subscribe};
use crate::support::redis::server;
use crate::support::{Running, Said, program};

#[tokio::test]
async fn after_ctrl_c_load_prints_how_many_messages_the_server_confirmed() {
    for pace in ["--rate 2000", "--batch 5000"] {
        let server = server().await;
        let reader = subscribe(&server, "messages:published");
        let program = start(&server.url(), pace);
        published(&server, 500).await;
        program.signal(Signal::INT);
        let said = program.end().await;
        assert_eq!(said.code, 0, "{}", said.stderr);
        end(&server, "messages:published");
        assert_eq!(reader.join().unwrap().len(), number(&said));
    }
}

#[tokio::test]
async fn after_ctrl_c_the_stream_has_the_confirmed_messages() {
    for pace in ["--rate 2000", "--batch 5000"] {
        let server = server().await;
        let program = start(&server.url(), &format!("--to stream {pace}"));
        called(&server, "xadd", 500).await;
        program.signal(Signal::INT);
        let said = program.end().await;
        assert_eq!(said.code, 0, "{}", said.stderr);
        assert_eq!(entries(&server, "messages:published").len(), number(&said));
    }
}

#[tokio::test]
async fn a_load_stopped_before_it_connects_says_that_nothing_was_published() {
    let mut server = server().await;
    let url = server.url();
    server.kill().unwrap();
    let mut program = Running::start(program(&["load", "-u", &url]).env("RCG_NOTHING", "1"));
    // The warning about this variable comes just before the program listens for signals.
    program.wait_for("RCG_NOTHING");
    tokio::time::sleep(Duration::from_millis(300)).await;
    program.signal(Signal::INT);
    let Said { code, stdout, stderr } = program.end().await;
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(stdout, "Published 0 messages in 0.00 s (0 per second).\n");
}

#[tokio::test]
async fn a_second_signal_does_not_wait_for_a_server_that_is_frozen() {
    let server = server().await;
    let url = server.url();
    let program = start(&url, "--rate 2000");
    published(&server, 100).await;
    server.freeze().unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    program.signal(Signal::INT);
    program.signal(Signal::TERM);
    let said = program.end().await;
    assert_eq!(said.code, 1);
    assert!(number(&said) >= 100);
    assert!(said.stderr.contains("more were sent, and the server did not answer"), "{}", said.stderr);
}
