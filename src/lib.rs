//! **Competing consumers for Redis Pub/Sub and streams.** N consumers share one channel, each message is processed by
//! exactly one of them, and the result is appended to a stream, with the id of the consumer that did it.
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
//! # What is promised
//!
//! Every message *received* (its complete frame was read from the socket) ends in the output once, unless the
//! [`Ledger`] says that it was rejected, dropped, skipped or abandoned; also when the connection breaks in the
//! middle of a commit. What was published while no connection was subscribed did not reach us: each such
//! [`Gap`] is reported with its cause and duration. What a killed process held in memory is lost.
//!
//! With [`SourceKind::Stream`] the messages are the entries of a stream, which any number of processes share through its
//! consumer group, and nothing of that is lost: every entry ends in the output once, whatever process dies when. And
//! with [`Overflow::Spill`] messages of a channel that find the buffer full go into such a stream, and come back.
//!
//! # A tour
//!
//! A [`ConsumerGroup`] is set up with a [`Builder`] (or a whole [`Config`]) and given a [`Processor`]: a
//! closure, a function, a type of your own, or the default [`JsonProcessor`]. Each [`Consumer`] takes one [`Message`] at a
//! time and turns it into an [`Outcome`]: a [`Record`], several, or none; or a [`Failure`], which sets the
//! message aside for a later attempt or moves it to the stream of rejected ones. What became of every message
//! stands in the [`Ledger`], and how far behind the group of a stream is in the [`Backlog`]. A [`Handle`] tells both, and
//! the [`State`] of the group, from anywhere in the program. [`ids`] looks at the list of living consumers from outside.
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
//! On Tokio. Consumers run on the runtime that [`Builder::start`] is called in. Reading and committing have a
//! thread of their own, so that a processor that blocks its thread delays neither. Nothing global is touched:
//! no logger (events go to [`tracing`]), no signal handler, no TLS provider is installed.
//!
//! # What it is not
//!
//! A job queue with schedules and priorities, a Redis client, a way to store results anywhere but in Redis.

mod address;
mod appended;
mod appender;
mod backlog;
mod buffer;
mod config;
mod consumer;
mod credentials;
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
pub use entry_id::EntryId;
pub use error::Error;
pub use group::{BufferUse, Builder, ConsumerGroup, Handle, Shard};
pub use ledger::{Gap, Gaps, Ledger};
pub use message::{Message, PayloadError};
pub use processor::{Failure, JsonProcessor, Outcome, Processor, RecordError};
pub use record::Record;
pub use shards::{ShardSet, ShardSetError, Shards};
pub use status::State;

/// The examples of the README and of the library guide are compiled with the documentation's tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../docs/library.md")]
pub struct LibraryGuide;
