//! What must be true of a server that the bench did not start itself, before it writes there.

use anyhow::bail;
use bytesize::ByteSize;
use redis::cmd;

use super::environment::{Environment, KEYS};
use super::role::protocol::INPUT;
use crate::exit::{self, Coded};

/// Checks whether the server can be measured, without writing anything. The bench will have at most this many entries
/// in its streams at the same time.
///
/// # Errors
/// The obstacle, and what to do about it.
pub(crate) async fn check(
    environment: &mut Environment,
    entries: u64,
    payload_bytes: usize,
) -> anyhow::Result<()> {
    let at = environment.address().to_string();
    let refuse = |text: String| Coded { code: exit::CONFIGURATION, text };

    let role = environment.info("replication").await?.get::<String>("role").unwrap_or_default();
    if role != "master" {
        bail!(refuse(format!("the server at {at} is a read-only replica: give the --url of its primary")));
    }
    if environment.info("cluster").await?.get::<u8>("cluster_enabled") == Some(1) {
        bail!(refuse(format!(
            "the server at {at} is a node of a Redis Cluster, which cannot have all keys of the bench on one node: \
             give the --url of a server that is not part of a cluster"
        )));
    }
    for key in KEYS {
        let kind: String = environment.ask(cmd("TYPE").arg(key)).await?;
        if kind != "none" {
            bail!(refuse(format!(
                "the key {key} (a {kind}) already exists at {at}: rename it if you need it; if another bench has left \
                 it behind, remove it (redis-cli UNLINK {key}); or name another database in the --url"
            )));
        }
    }
    let (_, subscribers): (String, u64) = environment.ask(cmd("PUBSUB").arg("NUMSUB").arg(INPUT)).await?;
    if subscribers > 0 {
        bail!(refuse(format!(
            "another client is subscribed to {INPUT} at {at}: wait for the other bench to end, or stop it"
        )));
    }
    let info = environment.info("memory").await?;
    let value = |name: &str| info.get::<u64>(name).unwrap_or(0);
    let (limit, used, needed) = (value("maxmemory"), value("used_memory"), memory(entries, payload_bytes));
    if limit > 0 && used + needed > limit {
        bail!(refuse(format!(
            "the bench needs about {} of memory at {at}, where {} of {} are used: use fewer --messages, or raise \
             maxmemory",
            ByteSize(needed),
            ByteSize(used),
            ByteSize(limit)
        )));
    }
    Ok(())
}

/// Memory of this many entries, in bytes.
fn memory(entries: u64, payload_bytes: usize) -> u64 {
    /// Size of an entry besides the payload: the consumer's id, its own id, and the stream's nodes.
    const ENTRY: u64 = 120;
    entries * (ENTRY + payload_bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_needs_memory_besides_its_payload() {
        assert_eq!(memory(1_000_000, 53), 173_000_000);
    }
}
