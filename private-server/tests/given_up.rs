//! The only test of its file, and so of its process, because it counts the folders that this process owns.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::{env, fs, process, time::Duration};

use redis_private_server::PrivateServer;
use tokio::time::timeout;

#[tokio::test]
async fn a_start_that_is_dropped_leaves_nothing_behind() {
    let mut finished = 0;
    for limit in (0..60).step_by(4) {
        let start = PrivateServer::builder().start();
        finished += u32::from(timeout(Duration::from_millis(limit), start).await.is_ok());
        assert_eq!(own_folders(), 0, "after {limit} ms");
    }
    println!("{finished} of 15 starts were faster than they were given up");
}

fn own_folders() -> usize {
    let prefix = format!("redis-private-{}-", process::id());
    let entries = fs::read_dir(env::temp_dir()).unwrap();
    entries.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(&prefix)).count()
}
