//! The builder: makes a group from a configuration and a processor.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use super::ConsumerGroup;
use super::start::start;
use crate::address::{Address, AddressError};
use crate::appended::Appended;
use crate::config::{Begin, Commit, Config, Overflow, Replay, SourceKind, Tls, Trim};
use crate::consumer::Consumer;
use crate::credentials::CredentialsProvider;
use crate::dropped::Dropped;
use crate::error::Error;
use crate::hooks::Hooks;
use crate::ledger::Gap;
use crate::message::Message;
use crate::processor::{Failure, JsonProcessor, Outcome, Processor};
use crate::rejected::Rejected;
use crate::shards::Shards;

/// Sets up a group. Call [`start`](Self::start) to start it.
///
/// Every setting is one of [`Config`], where its default and meaning are documented.
#[must_use = "a group starts with `start`"]
pub struct Builder<P> {
    config: Result<Config, AddressError>,
    processor: P,
    hooks: Hooks,
    name: Option<String>,
}

impl Builder<JsonProcessor> {
    pub(super) fn new(address: Result<Address, AddressError>) -> Self {
        let config = address.map(|address| Config { address, ..Config::default() });
        Self::of(config)
    }

    pub(crate) fn from_config(config: Config) -> Self {
        Self::of(Ok(config))
    }

    fn of(config: Result<Config, AddressError>) -> Self {
        Self { config, processor: JsonProcessor::new(), hooks: Hooks::default(), name: None }
    }
}

impl<P: Processor> Builder<P> {
    /// Processes messages with this closure.
    ///
    /// `?` converts errors into [`Failure`]. For a function with another error type, use
    /// [`with_processor`](Self::with_processor), or call it inside the closure:
    /// `Ok(function(consumer, message).await?)`.
    pub fn processor<F, Fut, O>(self, closure: F) -> Builder<impl Processor>
    where
        F: Fn(Consumer, Message) -> Fut + Send + Sync + 'static,
        // Not any error that converts into `Failure`: the compiler could not infer the error type that `?` converts to.
        Fut: Future<Output = Result<O, Failure>> + Send + 'static,
        O: Into<Outcome> + 'static,
    {
        self.with_processor(closure)
    }

    /// Processes messages with this closure and a state that all of its calls share.
    ///
    /// ```
    /// # use redis_consumer_group::{ConsumerGroup, Record};
    /// struct Shop { currency: &'static str }
    ///
    /// let builder = ConsumerGroup::builder("redis://localhost:6379").processor_with_state(
    ///     Shop { currency: "EUR" },
    ///     |shop, _consumer, message| async move {
    ///         Ok(Record::new().field("article", message.text()?).field("currency", shop.currency))
    ///     },
    /// );
    /// ```
    pub fn processor_with_state<S, F, Fut, O>(self, state: S, closure: F) -> Builder<impl Processor>
    where
        S: Send + Sync + 'static,
        F: Fn(Arc<S>, Consumer, Message) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, Failure>> + Send + 'static,
        O: Into<Outcome> + 'static,
    {
        let state = Arc::new(state);
        self.processor(move |consumer, message| closure(state.clone(), consumer, message))
    }

    /// Processes messages with a [`Processor`]: your own type, or a function with any error type that converts into
    /// [`Failure`], such as your application's error.
    pub fn with_processor<Q: Processor>(self, processor: Q) -> Builder<Q> {
        Builder { config: self.config, processor, hooks: self.hooks, name: self.name }
    }

    /// Changes any setting, including those without a method here.
    ///
    /// ```
    /// # use redis_consumer_group::ConsumerGroup;
    /// let builder = ConsumerGroup::builder("redis://localhost:6379").configure(|config| {
    ///     config.consumers = 8;
    ///     config.stream.with_source_id = true;
    /// });
    /// ```
    pub fn configure(self, change: impl FnOnce(&mut Config)) -> Self {
        self.set(change)
    }

    /// How many consumers work at the same time.
    pub fn consumers(self, consumers: usize) -> Self {
        self.set(|config| config.consumers = consumers)
    }

    /// Where messages come from.
    pub fn source(self, source: SourceKind) -> Self {
        self.set(|config| config.source = source)
    }

    /// The channel or the stream to read.
    pub fn input(self, name: impl Into<String>) -> Self {
        self.set(|config| config.input = name.into())
    }

    /// The consumer group of the stream.
    pub fn group(self, group: impl Into<String>) -> Self {
        self.set(|config| config.stream.group = group.into())
    }

    /// Where the consumer group begins if it is created.
    pub fn begin_at(self, begin: Begin) -> Self {
        self.set(|config| config.stream.begin_at = begin)
    }

    /// The field of an entry that may hold its whole payload. See
    /// [`StreamInput::payload_field`](crate::StreamInput::payload_field).
    pub fn payload_field(self, field: impl Into<String>) -> Self {
        self.set(|config| config.stream.payload_field = field.into())
    }

    /// Whether each record gets the id of the entry that it was made from, as `source_id`.
    pub fn with_source_id(self, with: bool) -> Self {
        self.set(|config| config.stream.with_source_id = with)
    }

    /// Also takes over entries from consumers that do not belong to this library, when they have been idle for this
    /// long.
    pub fn claim_foreign_after(self, idle: Duration) -> Self {
        self.set(|config| config.stream.claim_foreign_after = Some(idle))
    }

    /// What to do with entries of the input that are done.
    pub fn trim(self, trim: Trim) -> Self {
        self.set(|config| config.stream.trim = trim)
    }

    /// Processes rejected messages again: the entries of the stream of rejected messages that this selects. See
    /// [`SourceKind::Rejected`].
    pub fn replay(self, replay: Replay) -> Self {
        self.set(|config| (config.source, config.replay) = (SourceKind::Rejected, replay))
    }

    /// The stream for spilled messages.
    pub fn spill_key(self, key: impl Into<String>) -> Self {
        self.set(|config| config.spill_key = Some(key.into()))
    }

    /// Approximately how many messages may be in the spill.
    pub fn spill_max(self, messages: u64) -> Self {
        self.set(|config| config.spill_max = messages)
    }

    /// Several inputs, each with its own output and its own consumers.
    pub fn shards(self, shards: Shards) -> Self {
        self.set(|config| config.shards = Some(shards))
    }

    /// The stream that records are appended to.
    pub fn output(self, key: impl Into<String>) -> Self {
        self.set(|config| config.output = key.into())
    }

    /// The stream for messages that could not be processed.
    pub fn rejected(self, key: impl Into<String>) -> Self {
        self.set(|config| config.rejected = key.into())
    }

    /// The list of the ids of living consumers.
    pub fn ids_key(self, key: impl Into<String>) -> Self {
        self.set(|config| config.ids_key = key.into())
    }

    /// The password, if it is not in the URL.
    pub fn password(self, password: impl Into<String>) -> Self {
        self.set(|config| config.address = config.address.clone().with_password(password))
    }

    /// The provider of credentials, called before each handshake: for passwords and tokens that change. A
    /// closure, a [`PasswordFile`](crate::PasswordFile), or your own type.
    pub fn credentials(self, provider: impl CredentialsProvider) -> Self {
        self.set(|config| config.address = config.address.clone().with_credentials(provider))
    }

    /// Certificates for a connection with TLS.
    pub fn tls(self, tls: Tls) -> Self {
        self.set(|config| config.tls = tls)
    }

    /// The maximum number of bytes that waiting messages may hold.
    pub fn buffer(self, bytes: usize) -> Self {
        self.set(|config| config.buffer = bytes)
    }

    /// What to do with a message that finds the buffer full.
    pub fn overflow(self, overflow: Overflow) -> Self {
        self.set(|config| config.overflow = overflow)
    }

    /// How records are appended.
    pub fn commit(self, commit: Commit) -> Self {
        self.set(|config| config.commit = commit)
    }

    /// The longest accepted payload, in bytes. A longer one is rejected.
    pub fn max_payload(self, bytes: usize) -> Self {
        self.set(|config| config.max_payload = bytes)
    }

    /// How often a message is tried before it is rejected, including the first attempt.
    pub fn max_attempts(self, attempts: u32) -> Self {
        self.set(|config| config.max_attempts = attempts)
    }

    /// How long a message waits before its second attempt. Each further delay is four times as long.
    pub fn retry_delay(self, delay: Duration) -> Self {
        self.set(|config| config.retry_delay = delay)
    }

    /// The longest delay before a retry.
    pub fn retry_max_delay(self, delay: Duration) -> Self {
        self.set(|config| config.retry_max_delay = delay)
    }

    /// How long one attempt may take.
    pub fn processor_timeout(self, limit: Duration) -> Self {
        self.set(|config| config.processor_timeout = Some(limit))
    }

    /// Trims the output to about this many entries.
    pub fn maxlen(self, entries: u64) -> Self {
        self.set(|config| config.maxlen = Some(entries))
    }

    /// Trims the stream of rejected messages to about this many entries.
    pub fn rejected_maxlen(self, entries: u64) -> Self {
        self.set(|config| config.rejected_maxlen = Some(entries))
    }

    /// Stops the group after this many messages were received.
    pub fn max_messages(self, messages: u64) -> Self {
        self.set(|config| config.max_messages = Some(messages))
    }

    /// How long a stop may take to finish the received messages.
    pub fn drain_timeout(self, limit: Duration) -> Self {
        self.set(|config| config.drain_timeout = limit)
    }

    /// How long commits that no replica is known to have are kept in memory. See [`Config::keep`].
    pub fn keep(self, keep: Duration) -> Self {
        self.set(|config| config.keep = keep)
    }

    /// How long this process may go without a heartbeat before its ids are removed. See [`Config::lease`].
    pub fn lease(self, lease: Duration) -> Self {
        self.set(|config| config.lease = lease)
    }

    /// Names the group in the log: all its events are in a [`tracing`] span with the field `group`, which distinguishes
    /// several groups of one process. Redis does not see the name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Calls this function after each commit to the output, when the server has confirmed it.
    ///
    /// All hooks run on the group's own thread, between reading and committing, so they must be quick (a counter, a
    /// bounded channel). A panic in one is logged, and the group continues. They run when the log and the
    /// [`Ledger`](crate::Ledger) are updated.
    pub fn on_append(mut self, hook: impl Fn(&Appended<'_>) + Send + Sync + 'static) -> Self {
        self.hooks.append = Some(Arc::new(hook));
        self
    }

    /// Calls this function with each message that the server has confirmed to be in the stream of rejected messages. The
    /// rules of [`on_append`](Self::on_append) apply.
    pub fn on_reject(mut self, hook: impl Fn(&Rejected) + Send + Sync + 'static) -> Self {
        self.hooks.reject = Some(Arc::new(hook));
        self
    }

    /// Calls this function whenever messages are dropped because the buffer is full. This happens often during an
    /// overload. The rules of [`on_append`](Self::on_append) apply.
    pub fn on_drop(mut self, hook: impl Fn(&Dropped) + Send + Sync + 'static) -> Self {
        self.hooks.drop = Some(Arc::new(hook));
        self
    }

    /// Calls this function at the end of each gap. To see the beginning of a gap, use
    /// [`Handle::watch`](crate::Handle::watch). The rules of [`on_append`](Self::on_append) apply.
    pub fn on_gap(mut self, hook: impl Fn(&Gap) + Send + Sync + 'static) -> Self {
        self.hooks.gap = Some(Arc::new(hook));
        self
    }

    /// Connects, registers the consumer ids, subscribes, and starts the group.
    ///
    /// Waits 5 seconds for a server that does not answer, and 60 seconds for a server that answers but is not ready (it
    /// is loading its data, is short of memory, or has too many clients). To be able to cancel that wait, use
    /// [`start_until`](Self::start_until).
    ///
    /// Consumers run on the Tokio runtime that this is called in. Reading and committing have their own thread, so a
    /// processor that blocks its thread delays neither.
    ///
    /// # Errors
    /// An invalid setting; a server that is not reachable or not ready in time; a refusal by the server; a key of the
    /// wrong type.
    ///
    /// # Panics
    /// When it is called outside of a Tokio runtime.
    pub async fn start(self) -> Result<ConsumerGroup, Error> {
        // Without an end to wait for, there always is a group.
        self.start_until(pending::<()>()).await?.ok_or_else(super::defect)
    }

    /// Starts the group like [`start`](Self::start), unless the future completes first: a signal, for example. Then it
    /// removes what it has registered in Redis, and returns `None`.
    ///
    /// ```no_run
    /// # use redis_consumer_group::{ConsumerGroup, Error};
    /// # async fn example() -> Result<(), Error> {
    /// let builder = ConsumerGroup::builder("redis://localhost:6379");
    /// let Some(group) = builder.start_until(tokio::signal::ctrl_c()).await? else { return Ok(()) };
    /// println!("{}", group.run_until(tokio::signal::ctrl_c()).await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    ///
    /// # Panics
    /// When it is called outside of a Tokio runtime.
    pub async fn start_until(self, until: impl Future) -> Result<Option<ConsumerGroup>, Error> {
        let config = self.config?;
        config.validate()?;
        start(config, self.processor, self.hooks, self.name, until).await
    }

    /// The validated configuration, the processor and the hooks.
    #[cfg(feature = "testing")]
    pub(crate) fn into_parts(self) -> Result<(Config, P, Hooks), Error> {
        let config = self.config?;
        config.validate()?;
        Ok((config, self.processor, self.hooks))
    }

    fn set(mut self, change: impl FnOnce(&mut Config)) -> Self {
        if let Ok(config) = &mut self.config {
            change(config);
        }
        self
    }
}
