//! The path of records into a commit, up to its encoded bytes.

use std::cell::Cell;
use std::slice::from_ref;
use std::sync::Arc;

use uuid::Uuid;

use crate::appender::{Appender, Turn, Urgency};
use crate::config::{Commit, Config, Tls};
use crate::error::Error;
use crate::group::outbox::Outbox;
use crate::record::Record;
use crate::redis::server::Server;
use crate::sink::{Form, Lane, Records, Settled, StreamLane, Target};
use crate::slot::beside;

/// Encodes commits like a lane of the output, but does not send them.
pub struct Encoder {
    records: Records,
    pub(super) lane: StreamLane,
}

impl Encoder {
    /// An encoder of atomic commits to the default output.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "nobody asks for a default")]
    pub fn new() -> Self {
        let Config { address, output: stream, .. } = Config::default();
        let server = Server::new(address, &Tls::default())
            .unwrap_or_else(|error| unreachable!("no file to be read: {error}"));
        let key = beside(&stream, &format!("lane:{}:0", Uuid::new_v4()));
        let lane = StreamLane::new(Target::output(server, stream), Commit::Atomic, key);
        Self { records: Records::new(lane.form()), lane }
    }

    /// Encodes one commit of these records.
    pub fn encode(&mut self, records: &[Record]) {
        for record in records {
            self.records.push(from_ref(record), true, None);
        }
        self.lane.begin(&self.records);
        self.records.clear();
    }
}

/// Puts records into an appender, one message each, and takes them out in commits that are not sent.
///
/// # Panics
/// When a record is lost.
pub async fn append(records: &[Record]) {
    let appender = Arc::new(Appender::new(Nowhere.form()));
    let put = async {
        let mut outbox = Outbox::new(&appender);
        for record in records {
            outbox.put(from_ref(record), None).await;
        }
        outbox.hand_on(Urgency::Now).await;
        appender.close();
    };
    let taken = Cell::new(0);
    let take = appender.run(Nowhere, Turn::First, |records, _| taken.set(taken.get() + records.len()));
    let ((), end) = tokio::join!(put, take);
    end.expect("a lane that does not fail");
    assert_eq!(taken.get(), records.len());
}

struct Nowhere;

impl Lane for Nowhere {
    fn form(&self) -> Form {
        Form::xadd("messages:processed")
    }

    async fn commit(&mut self, _: &Records, _: Option<&Records>) -> Result<Settled, Error> {
        Ok(Settled::Committed)
    }

    async fn close(&mut self) {}
}
