//! **Competing consumers for Redis Pub/Sub and streams.** N consumers share one channel. Exactly one of them processes
//! each message, and appends the result to a stream together with its own consumer id.
//!
//! ```text
//!   PUBLISH messages:published {"message_id":"…"}
//!       │
//!       ▼                         one process
//!   Source ──► Queue ──► Consumer 1..N ──► Processor ──► Commit ──► XADD messages:processed
//!   (reads the   (bounded    (each with an id     (your          (batched, atomic,
//!    socket)      by bytes)   in consumer:ids)     function)      safe to repeat)
//! ```
//!
//! ```no_run
//! use redis_consumer_group::{ConsumerGroup, Record};
//!
//! # async fn example() -> Result<(), redis_consumer_group::Error> {
//! let group = ConsumerGroup::builder("redis://localhost:6379")
//!     .consumers(4)
//!     .processor(|consumer, message| async move {
//!         // A payload that is not text is rejected.
//!         Ok(Record::new().field("text", message.text()?).field("consumer_id", consumer.id()))
//!     })
//!     .start()
//!     .await?;
//! // … until it is time to stop:
//! let ledger = group.shutdown().await?;
//! println!("{ledger}"); // received 1000 = processed 1000 + rejected 0 + dropped 0; no gaps
//! # Ok(())
//! # }
//! ```
//!
//! # Delivery guarantees
//!
//! Every message *received* (its complete frame was read from the socket) ends up in the output once, unless the
//! [`Ledger`] counts it as rejected, dropped, skipped or abandoned. This also holds when the connection breaks in the
//! middle of a commit. Messages published while no connection was subscribed are missed: each such [`Gap`] is reported
//! with its cause and duration. Messages that a killed process held in memory are lost.
//!
//! With [`SourceKind::Stream`] the messages are the entries of a stream. Any number of processes share it through its
//! consumer group, and no entry is lost: every entry ends up in the output once, no matter which process dies at which
//! moment. With [`Overflow::Spill`], messages of a channel that find the buffer full go into such a stream and are read
//! back later.
//!
//! # A tour
//!
//! A [`ConsumerGroup`] is set up with a [`Builder`] (or a whole [`Config`]) and a [`Processor`]: a closure, a function,
//! your own type, or the default [`JsonProcessor`]. Each [`Consumer`] takes one [`Message`] at a time and turns it into
//! an [`Outcome`]: one [`Record`], several, or none; or into a [`Failure`], which schedules a retry or moves the
//! message to the stream of rejected messages. The [`Ledger`] counts the outcome of every message. The [`Backlog`]
//! shows how far the consumer group of a stream is behind. A [`Handle`] gives access to both, and to the [`State`] of
//! the group, from anywhere in the program. [`ids`] lists the living consumers from outside the group.
//!
//! # Features
//!
//! | feature | |
//! |---|---|
//! | `tls` | connections with TLS (`rediss://`). On by default |
//! | `anyhow` | `?` on `anyhow::Error` in a processor |
//! | `testing` | the module `testing`: processors and whole groups without a server |
//!
//! # Where it runs
//!
//! On Tokio. Consumers run on the runtime that calls [`Builder::start`]. Reading and committing have their own thread,
//! so a processor that blocks its thread delays neither. The library changes nothing global: it installs no logger
//! (events go to [`tracing`]), no signal handler and no TLS provider.
//!
//! # Non-goals
//!
//! Not a job queue with schedules and priorities, not a Redis client, and not a way to store results outside of Redis.

mod address;
mod appended;
mod appender;
mod backlog;
mod buffer;
mod config;
mod consumer;
mod credentials;
mod dropped;
mod entry_id;
mod epoch;
mod error;
mod events;
mod group;
mod hooks;
pub mod ids;
mod intake;
mod ledger;
mod message;
mod processor;
mod queue;
mod rate;
mod record;
mod redis;
mod rejected;
mod shards;
mod sink;
mod slot;
mod source;
mod spill;
mod status;
mod text;
mod throttle;

#[cfg(feature = "testing")]
pub mod testing;

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;

#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;

#[doc(hidden)]
pub mod client;

pub use address::{Address, AddressError};
pub use appended::Appended;
pub use backlog::Backlog;
pub use config::{Begin, Commit, Config, Overflow, Replay, SourceKind, StreamInput, Tls, Trim};
pub use consumer::Consumer;
pub use credentials::{Credentials, CredentialsProvider, PasswordFile};
pub use dropped::{DropCause, Dropped};
pub use entry_id::{EntryId, EntryIdError};
pub use error::Error;
pub use group::{BufferUse, Builder, ConsumerGroup, Figures, Handle, Shard};
pub use ledger::{Gap, Gaps, Ledger};
pub use message::{Message, PayloadError};
pub use processor::{Failure, JsonProcessor, Outcome, Processor, RecordError};
pub use record::Record;
pub use rejected::Rejected;
pub use shards::{ShardSet, ShardSetError, Shards};
pub use status::State;

/// Compiles the examples of the README and of the pages in `docs/` together with the doctests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../docs/credentials.md")]
pub struct CredentialsPage;

#[cfg(doctest)]
#[doc = include_str!("../docs/library.md")]
pub struct LibraryGuide;

#[cfg(doctest)]
#[doc = include_str!("../docs/migrate.md")]
pub struct MigrationPage;

#[cfg(doctest)]
#[doc = include_str!("../docs/rejected.md")]
pub struct RejectedPage;
