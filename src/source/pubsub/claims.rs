//! How several members share one channel: the protocol. Its scripts are in `lua/`; `model` tests the protocol, and that
//! the scripts do the same. The source does not use them yet.
//!
//! # Positions
//!
//! All subscribers of one server see the same messages in the same order. So messages can be numbered without changing
//! a publisher: a member that subscribes publishes a *marker* with a random id, and from there on everybody counts.
//! The messages between two markers are a **segment**; a message's **position** is its segment and its number in it. A
//! member counts only what it received on one unbroken connection, and begins at its own marker. A connection that
//! follows another one begins with another marker.
//!
//! # What is stored
//!
//! Beside the output, in its slot, so that it goes back together with the output when a replica is promoted:
//!
//! | | |
//! |---|---|
//! | segments | the *frontier* of each, which is the first position that nobody has claimed, and its *end*, once it is known |
//! | members | of each epoch: the positions that it has claimed, and the *runs* that it has received: a part of a segment, or all of it from the beginning up to what is yet to come |
//! | free | positions that a member had claimed and no longer has |
//! | done | the ids of segments of which everything is settled |
//!
//! Runs, claims and free positions are stored as ranges.
//!
//! # Steps
//!
//! Each step is one script, or one transaction. Each checks the member's [fencing token](crate::epoch), which a takeover
//! deletes first.
//!
//! - **Join**: begins an epoch, and stores what this process received before. A segment that is neither known nor done
//!   was lost when Redis went back; it is known again, with nothing claimed.
//! - **Open**: stores a segment without an end, and publishes its marker.
//! - **Report**: stores the runs, and the ends of segments that this member saw: what comes after an end was claimed in
//!   vain. Positions that this member has claimed and not received, because its connection broke, become free. A report
//!   has a number: one that arrives after a newer one changes nothing.
//! - **Claim**: gives the member free positions or positions from the frontier on, among those that it has received or
//!   will receive. A claim may be ahead of its messages, so that a message that arrives needs no round trip. The claim
//!   has a number: repeated because its answer was lost, it gives the same positions.
//! - **Commit**: appends the records and removes the claims in one transaction.
//! - **Fence off**: ends the epoch of a member that has died, of one that was taken for dead, or of one's own earlier
//!   one. Its positions become free.
//! - **Settle**: forgets a segment with a known end of which everything is committed, and notes that it is done.
//! - **Give up**: what no member has received is lost, and is counted; a segment that no connected member counts in ends
//!   where the last one stopped. That is a gap. It needs every living member's word: one that renews its lease has
//!   reported all that it received until the renewal before that.
//!
//! An epoch lasts no longer than one run of one server: whoever finds another server, or the same one started again,
//! begins a new epoch, and claims again what the stored state does not know as committed.
//!
//! # How it is to stay cheap
//!
//! - Claims are made on a connection of their own, ahead of the consumers' need (as `source/stream/flow.rs`
//!   estimates it): no commit and no message waits for one.
//! - A commit adds no command. The lane writes what it has committed into its hash, beside the number that it writes
//!   anyway: `HSET lane number N done RANGES`. A member's claims are what it was given without what its lanes have done.
//!   The next claim subtracts that from what is stored, after which the lane leaves it out. Two lanes never write the
//!   same field, and subtracting twice changes nothing.
//! - The answer to a claim lists the ranges that are not committed. Every member releases the memory of all others.
//!   Where a replica may be promoted, it keeps them a little longer ([`Config::keep`](crate::Config::keep)).
//! - A member that dies is noticed by its lease; or earlier, because it also subscribes to a channel of its own, and
//!   `PUBSUB NUMSUB` shows that nobody does any more.
//!
//! # What follows
//!
//! No message is appended twice, and each message that a living member has received is appended. Neither depends on
//! time: a member may be taken for dead at any moment. Only *give up* relies on leases, so that nothing is counted as
//! lost that a slow member would still bring.

mod model;
