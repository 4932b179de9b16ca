//! The shards of an input.

use super::{Config, SourceKind};
use crate::error::{Error, check};
use crate::shards::Shards;

impl Config {
    /// The shards, if the input has any: the configured ones; otherwise 16 with [`SourceKind::Sharded`].
    #[must_use]
    pub fn sharding(&self) -> Option<Shards> {
        let default = (self.source == SourceKind::Sharded).then(Shards::default);
        self.shards.clone().or(default)
    }

    /// The configurations of the groups that make up this one: one for each shard that runs here, with its number.
    /// Without shards, this configuration itself.
    pub(crate) fn by_shard(&self) -> Vec<(Option<u32>, Self)> {
        let Some(shards) = self.sharding() else { return vec![(None, self.clone())] };
        let name = |name: &str, shard| shards.name(name, shard);
        let of_shard = |shard| Self {
            input: name(&self.input, shard),
            output: name(&self.output, shard),
            rejected: name(&self.rejected, shard),
            ids_key: name(&self.ids_key, shard),
            spill_key: self.spill_key.as_deref().map(|key| name(key, shard)),
            buffer: self.buffer_of_shard(),
            shards: None,
            ..self.clone()
        };
        shards.here().map(|shard| (Some(shard), of_shard(shard))).collect()
    }

    /// The share of the buffer that one shard has.
    pub(super) fn buffer_of_shard(&self) -> usize {
        self.buffer / self.shards_here().max(1)
    }

    /// The number of shards that run here; 1 without shards.
    pub(super) fn shards_here(&self) -> usize {
        self.sharding().map_or(1, |shards| shards.here().count())
    }

    pub(super) fn validate_shards(&self) -> Result<(), Error> {
        let Some(shards) = self.sharding() else { return Ok(()) };
        check("shards", self.source != SourceKind::PubSub, || {
            "one channel has no shards; set source to sharded or stream".into()
        })?;
        let names = [
            ("input", Some(&self.input)),
            ("output", Some(&self.output)),
            ("rejected", Some(&self.rejected)),
            ("ids-key", Some(&self.ids_key)),
            ("spill-key", self.spill_key.as_ref()),
        ];
        shards.validate(names.into_iter().filter_map(|(option, name)| Some((option, name?.as_str()))))?;
        check("buffer", self.buffer_of_shard() >= 64 << 10, || {
            format!(
                "{} bytes for each of {} shards are too few for a batch of messages; raise it to 64KiB per shard",
                self.buffer_of_shard(),
                self.shards_here()
            )
        })
    }
}
