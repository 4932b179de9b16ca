//! A Redis or Valkey server as a private child process.
//!
//! ```no_run
//! # async fn example() -> Result<(), redis_private_server::Error> {
//! use redis_private_server::PrivateServer;
//!
//! let server = PrivateServer::builder().arg("maxmemory", "10mb").start().await?;
//! println!("{} answers at {}", server.version(), server.url());
//! # Ok(())
//! # }
//! ```
//!
//! From `builder()` to the end:
//!
//! ```text
//!   Builder::start
//!     binary      which server: REDIS_SERVER, else valkey-server, else redis-server
//!     port        a loopback port below 20000, tried until one is free
//!     config      the server's configuration, in a file of mode 0600
//!     launch      process   the child, in a process group of its own ──► guard
//!                 ready     PING over the private Unix socket until it answers
//!   PrivateServer
//!     freeze, thaw, kill, stop, restart
//!   drop          SIGKILL, wait, the folder is removed
//!   PrivateCluster
//!     several servers that form a cluster and share the slots
//!   PrivateSentinels
//!     several sentinels that watch one server and its replicas
//! ```
//!
//! The server writes everything into one temporary folder that only its owner can open. Data is kept only
//! with [`Builder::appendonly_always`], and then until the handle is dropped.
//!
//! A Ctrl-C in the terminal does not reach the server: its owner decides when it ends. If the owner is killed,
//! the guard ends the server: a `/bin/sh` that made the folder before anything else started, and that waits for
//! the end of a pipe.
//!
//! Requires Unix, and Tokio with time and I/O enabled. Waiting uses Tokio's clock, so do not pause that clock
//! while a server starts or stops.
#![forbid(unsafe_code)]

mod ask;
mod binary;
mod builder;
mod cluster;
mod config;
mod error;
mod guard;
mod install;
mod launch;
mod log;
mod port;
mod process;
mod ready;
mod sentinels;
mod server;
#[cfg(feature = "tls")]
mod tls;
mod together;

pub use binary::{find_server, find_tls_capable, supports_tls};
pub use builder::Builder;
pub use cluster::PrivateCluster;
pub use error::Error;
pub use guard::Guard;
pub use sentinels::PrivateSentinels;
pub use server::PrivateServer;
#[cfg(feature = "tls")]
pub use tls::{Certificates, ClientCertificates};
