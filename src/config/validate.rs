//! Checks a configuration without a server.

use std::time::Duration;

use super::{Config, SourceKind, Tls};
use crate::error::{Error, check};

const DAY: Duration = Duration::from_secs(86_400);

impl Config {
    /// Checks everything that can be checked without a server.
    ///
    /// # Errors
    /// [`Error::Config`] for the first option that cannot work.
    pub fn validate(&self) -> Result<(), Error> {
        check("consumers", (1..=10_000).contains(&self.consumers), || {
            format!("{} consumers is out of range; use 1 to 10000", self.consumers)
        })?;
        self.validate_names()?;
        self.validate_sizes()?;
        self.validate_stream()?;
        self.validate_replay()?;
        self.validate_shards()?;
        self.validate_room()?;
        self.validate_attempts()?;
        self.validate_limits()?;
        self.validate_times()?;
        self.validate_tls()
    }

    /// Each key has a name of its own.
    fn validate_names(&self) -> Result<(), Error> {
        let keys = [("output", &self.output), ("rejected", &self.rejected), ("ids-key", &self.ids_key)]
            .map(|(option, name)| (option, name.as_str()));
        let input = ("input", self.input.as_str());
        for (option, name) in [input].into_iter().chain(keys) {
            check(option, !name.is_empty(), || "the name is empty; give one".to_owned())?;
        }
        let spill = self.spill();
        let spill = spill.as_deref().map(|spill| ("spill-key", spill));
        // A channel is not a key.
        let input = (self.source == SourceKind::Stream).then_some(input);
        let keys: Vec<_> = input.into_iter().chain(keys).chain(spill).collect();
        for (at, (option, name)) in keys.iter().enumerate() {
            if let Some((other, _)) = keys[..at].iter().find(|(_, earlier)| earlier == name) {
                return Err(Error::Config {
                    option,
                    problem: format!("{name:?} is already the name of {other}; give each its own name"),
                });
            }
        }
        Ok(())
    }

    fn validate_sizes(&self) -> Result<(), Error> {
        check("buffer", self.buffer >= 64 << 10, || {
            format!("{} bytes are too few for a batch of messages; use 64KiB or more", self.buffer)
        })?;
        check("max-payload", (1..=512 << 20).contains(&self.max_payload), || {
            format!("{} bytes is out of range; use 1 to 512MiB", self.max_payload)
        })
    }

    /// The longest payload fits into the buffer.
    fn validate_room(&self) -> Result<(), Error> {
        check("max-payload", self.max_payload <= self.buffer_of_shard(), || {
            let (payload, buffer) = (self.max_payload, self.buffer_of_shard());
            match self.shards_here() {
                1 => format!(
                    "a payload of {payload} bytes would never find room in the buffer of {buffer}; raise the buffer, or lower max-payload"
                ),
                shards => format!(
                    "a payload of {payload} bytes would never find room in the {buffer} bytes that each of {shards} shards \
                     has of the buffer; raise the buffer, or lower max-payload"
                ),
            }
        })
    }

    fn validate_attempts(&self) -> Result<(), Error> {
        check("max-attempts", self.max_attempts >= 1, || {
            "a message is tried at least once; use 1 or more".into()
        })?;
        check("retry-delay", self.retry_delay >= Duration::from_millis(1), || {
            "a message that fails would be tried again at once, all the time; use 1ms or more".into()
        })?;
        check("retry-max-delay", self.retry_max_delay >= self.retry_delay, || {
            format!(
                "the longest delay ({:?}) is shorter than the first one ({:?}); raise it, or lower retry-delay",
                self.retry_max_delay, self.retry_delay
            )
        })?;
        check("retry-max-delay", self.retry_max_delay <= DAY, || {
            "a delay of more than a day is too long; use 24h or less".into()
        })
    }

    fn validate_limits(&self) -> Result<(), Error> {
        for (option, maxlen) in [("maxlen", self.maxlen), ("rejected-maxlen", self.rejected_maxlen)] {
            check(option, maxlen.is_none_or(|entries| (1..=i64::MAX as u64).contains(&entries)), || {
                format!("Redis cannot trim to {} entries; use 1 to 9223372036854775807", maxlen.unwrap_or(0))
            })?;
        }
        check("max-messages", self.max_messages != Some(0), || {
            "0 would end before the start; use 1 or more".into()
        })
    }

    fn validate_times(&self) -> Result<(), Error> {
        check("processor-timeout", self.processor_timeout != Some(Duration::ZERO), || {
            "a limit of 0 leaves no time to process; use 1ms or more, or none".into()
        })?;
        check("lease", self.lease >= Duration::from_millis(100), || {
            "a lease under 100ms lapses between two renewals; use 100ms or more".into()
        })?;
        check("lease", self.lease <= DAY, || {
            "with a lease of more than a day, the ids of dead processes stay that long; use 24h or less"
                .into()
        })?;
        check("keep", self.keep <= DAY, || {
            "commits kept for more than a day fill the memory; use 24h or less".into()
        })
    }

    fn validate_tls(&self) -> Result<(), Error> {
        check("tls-cert", self.tls.cert.is_some() == self.tls.key.is_some(), || {
            "a certificate and its key go together; give tls-cert and tls-key".into()
        })?;
        check("tls-ca", self.tls == Tls::default() || self.address.is_tls(), || {
            "the address does not use TLS; use rediss://".into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Begin, Trim};

    fn refused(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_are_valid() {
        Config::default().validate().unwrap();
    }

    #[test]
    fn each_refusal_names_its_option() {
        assert!(refused(|c| c.consumers = 0).starts_with("consumers: "));
        assert!(refused(|c| c.input.clear()).starts_with("input: "));
        assert!(refused(|c| c.buffer = 1).starts_with("buffer: "));
        assert!(refused(|c| c.max_payload = 1 << 30).starts_with("max-payload: "));
        assert!(refused(|c| c.max_attempts = 0).starts_with("max-attempts: "));
        assert!(refused(|c| c.retry_delay = Duration::ZERO).starts_with("retry-delay: "));
        assert!(refused(|c| c.retry_max_delay = Duration::from_millis(99)).starts_with("retry-max-delay: "));
        assert!(refused(|c| c.retry_max_delay = Duration::MAX).starts_with("retry-max-delay: "));
        assert!(refused(|c| c.maxlen = Some(0)).starts_with("maxlen: "));
        assert!(refused(|c| c.keep = Duration::MAX).starts_with("keep: "));
        assert!(refused(|c| c.rejected_maxlen = Some(0)).starts_with("rejected-maxlen: "));
        assert!(refused(|c| c.tls.cert = Some("c".into())).starts_with("tls-cert: "));
        assert!(refused(|c| c.tls.ca = Some("c".into())).starts_with("tls-ca: "));
        let trims_unread =
            |c: &mut Config| (c.stream.trim, c.stream.begin_at) = (Trim::Acknowledged, Begin::New);
        assert!(refused(trims_unread).starts_with("trim: "));
    }

    #[test]
    fn two_keys_cannot_have_one_name() {
        let problem = refused(|c| c.rejected.clone_from(&c.output));
        assert!(problem.contains("already the name of output"), "{problem}");
    }
}
