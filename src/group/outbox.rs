//! The outbox: one consumer's records on their way to an appender.

use std::sync::Arc;

use crate::appender::{Appender, Urgency};
use crate::epoch::Receipt;
use crate::record::Record;
use crate::sink::Records;

/// One consumer's records on their way to an appender. A quick consumer passes on the records of several messages at
/// once. The consumer must not wait for anything else while records are in its outbox.
pub(crate) struct Outbox {
    appender: Arc<Appender>,
    records: Records,
    /// Whether records were passed on with `Soon`, and none with `Now` since.
    soon: bool,
}

impl Outbox {
    /// The most bytes that it holds beyond those of the current message. These bytes are not counted in the buffer.
    const MOST_BYTES: usize = 16 << 10;

    pub(crate) fn new(appender: &Arc<Appender>) -> Self {
        Self { appender: appender.clone(), records: Records::new(appender.form()), soon: false }
    }

    /// Adds the records of one message, if that is possible without waiting.
    pub(crate) fn try_put(&mut self, records: &[Record], receipt: Option<Receipt<'_>>) -> bool {
        let bytes: usize = records.iter().map(|record| record.encoded().len()).sum();
        let fits =
            self.records.bytes() + bytes <= Self::MOST_BYTES && self.records.has_room_for(records, receipt);
        let fits = fits && (records.len() <= 1 || Records::first_commit(records) == Some(records.len()));
        if fits {
            self.records.push(records, true, receipt);
        }
        fits
    }

    /// Adds the records of one message. They stay together, in as many commits as they need. With a receipt they go
    /// into one commit, because the message is acknowledged once.
    pub(crate) async fn put(&mut self, records: &[Record], receipt: Option<Receipt<'_>>) {
        if receipt.is_some() {
            if !self.records.has_room_for(records, receipt) {
                self.hand_on(Urgency::Soon).await;
            }
            self.records.push(records, true, receipt);
        } else {
            self.put_in_parts(records).await;
        }
        if self.records.bytes() > Self::MOST_BYTES {
            self.hand_on(Urgency::Soon).await;
        }
    }

    async fn put_in_parts(&mut self, records: &[Record]) {
        let mut rest = records;
        while let Some(size) = Records::first_commit(rest) {
            let (first, others) = rest.split_at(size);
            let split = size < records.len();
            if !self.records.has_room_for(first, None) {
                self.hand_on(Urgency::Soon).await;
            }
            self.records.push(first, others.is_empty(), None);
            if split {
                self.records.mark_split();
                self.hand_on(Urgency::Soon).await;
            }
            rest = others;
        }
    }

    /// Passes its records on to the appender, waiting for room if necessary.
    pub(crate) async fn hand_on(&mut self, urgency: Urgency) {
        let before = std::mem::replace(&mut self.soon, urgency == Urgency::Soon);
        if self.records.is_empty() {
            self.soon &= before;
            if before && urgency == Urgency::Now {
                self.appender.hurry();
            }
            return;
        }
        self.appender.put(&mut self.records, urgency).await;
        // There may be thousands of outboxes.
        self.records.shrink_to(Self::MOST_BYTES);
    }
}
