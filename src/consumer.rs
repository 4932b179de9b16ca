//! A consumer of the group, as processors see it.

use std::sync::Arc;

use uuid::Uuid;

/// A consumer: processes one message at a time. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Consumer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    id: String,
    shard: Option<u32>,
    index: usize,
}

impl Consumer {
    pub(crate) fn new(shard: Option<u32>, index: usize, id: Uuid) -> Self {
        Self { inner: Arc::new(Inner { id: id.to_string(), shard, index }) }
    }

    /// Its id, a UUID. It is in the list of ids while the consumer lives.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// The number of its shard, if the input has any.
    #[must_use]
    pub fn shard(&self) -> Option<u32> {
        self.inner.shard
    }

    /// Its index in the group of this process, from 0. With shards, its index in the group of its shard.
    #[must_use]
    pub fn index(&self) -> usize {
        self.inner.index
    }
}
