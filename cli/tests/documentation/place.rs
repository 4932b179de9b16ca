//! Where the commands of a page run: private servers replace those that the page names.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use redis_private_server::{PrivateCluster, PrivateSentinels, PrivateServer};

use crate::support;

/// A folder to run in, and the servers that were started so far.
pub(super) struct Place {
    folder: tempfile::TempDir,
    server: PrivateServer,
    cluster: Option<PrivateCluster>,
    sentinels: Option<PrivateSentinels>,
}

impl Place {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = PrivateServer::builder().start().await.unwrap();
        for name in ["bin", "work", "work/docs"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let bin = folder.path().join("bin");
        let program = env!("CARGO_BIN_EXE_redis-consumer-group");
        symlink(program, bin.join("redis-consumer-group")).unwrap();
        // With the private port, output as on a terminal, and a failure for every error reply.
        let client =
            format!("#!/bin/sh\nexec {} -e -p {} --no-raw \"$@\"\n", client().display(), server.port());
        fs::write(bin.join("redis-cli"), client).unwrap();
        fs::set_permissions(bin.join("redis-cli"), fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder, server, cluster: None, sentinels: None }
    }

    pub(super) fn file(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join("work").join(name), self.with_default_address(text)).unwrap();
    }

    /// A shell with this line. Its addresses are replaced by those of private servers.
    pub(super) async fn shell(&mut self, line: &str) -> Command {
        let mut line = self.with_default_address(line);
        if line.contains("any-node") {
            let node = self.cluster().await.nodes()[0].port();
            line = line.replace("any-node:7000", &format!("127.0.0.1:{node}"));
            line = line.replace("-h any-node -p 7000", &format!("-h 127.0.0.1 -p {node}"));
        }
        if line.contains("sentinel-1") {
            let sentinels = self.sentinels().await.addrs();
            line = line.replace("sentinel-1:26379,sentinel-2:26379", &sentinels);
        }
        let starts_servers = ["redis-consumer-group bench", "redis-consumer-group demo"];
        let on_shards =
            !starts_servers.iter().any(|start| line.starts_with(start)) && line.contains("--shards");
        let url = if on_shards { self.cluster().await.url() } else { self.server.url() };
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", self.folder.path().join("bin").display());
        let mut command = Command::new("sh");
        // Remove the options that the environment of the test sets.
        for (name, _) in support::program(&[]).get_envs() {
            command.env_remove(name);
        }
        command.args(["-c", &format!("exec {line}")]).env("PATH", path);
        command.current_dir(self.folder.path().join("work"));
        if !starts_servers.iter().any(|start| line.starts_with(start)) {
            command.env("RCG_URL", url);
        }
        command
    }

    fn with_default_address(&self, text: &str) -> String {
        text.replace("localhost:6379", &self.server.addr())
    }

    async fn cluster(&mut self) -> &PrivateCluster {
        if self.cluster.is_none() {
            let cluster = PrivateCluster::start(PrivateServer::builder, 3, 0, Duration::from_secs(2)).await;
            self.cluster = Some(cluster.unwrap());
        }
        self.cluster.as_ref().unwrap()
    }

    async fn sentinels(&mut self) -> &PrivateSentinels {
        if self.sentinels.is_none() {
            let started = PrivateSentinels::start(PrivateServer::builder, 2, "mymaster", &self.server, 0);
            self.sentinels = Some(started.await.unwrap());
        }
        self.sentinels.as_ref().unwrap()
    }
}

/// The client of Redis or Valkey on PATH.
fn client() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = ["redis-cli", "valkey-cli"].iter().find_map(|name| {
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
    });
    found.expect("redis-cli is on PATH: apt-get install redis-tools")
}
