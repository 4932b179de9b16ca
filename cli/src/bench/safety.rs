//! Before the bench writes to a server that is not its own: what must hold there, and whether it may.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::bail;
use bytesize::ByteSize;
use redis::cmd;
use tokio::task::spawn_blocking;

use super::environment::{Environment, KEYS};
use super::part::protocol::INPUT;
use crate::exit::{self, Coded};

/// What a bench will do to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Messages that it publishes, one run after another.
    pub(crate) messages: u64,
    /// Memory that it takes of the server at the same time, about: bytes.
    pub(crate) memory: u64,
}

impl Extent {
    /// For so many messages in all, and at most so many entries in one run.
    pub(crate) fn new(messages: u64, in_one_run: u64, payload_bytes: usize) -> Self {
        /// What an entry takes beside the payload: the consumer's id, the entry's own, and the stream's nodes.
        const ENTRY: u64 = 120;
        Self { messages, memory: in_one_run * (ENTRY + payload_bytes as u64) }
    }
}

/// Looks whether the server is one that can be measured, without touching anything.
///
/// # Errors
/// What is in the way, and what to do about it.
pub(crate) async fn check(environment: &mut Environment, extent: Extent) -> anyhow::Result<()> {
    let at = environment.address().to_string();
    let refuse = |text: String| Coded { code: exit::CONFIGURATION, text };

    let role = environment.info("replication").await?.get::<String>("role").unwrap_or_default();
    if role != "master" {
        bail!(refuse(format!("the server at {at} is a read-only replica: give the --url of its primary")));
    }
    if environment.info("cluster").await?.get::<u8>("cluster_enabled") == Some(1) {
        bail!(refuse(format!(
            "the server at {at} is a node of a Redis Cluster, which has no place for all of the bench's keys: give one \
             that is not part of a cluster"
        )));
    }
    for key in KEYS {
        let kind: String = environment.ask(cmd("TYPE").arg(key)).await?;
        if kind != "none" {
            let (size, of) = size(environment, key, &kind).await?;
            bail!(refuse(format!(
                "the key {key} at {at} is there already, a {kind} of {size} {of}: rename it if you need it; if \
                 another bench has left it behind, remove it (redis-cli UNLINK {key}); or name another database \
                 in the --url"
            )));
        }
    }
    let (_, subscribers): (String, u64) = environment.ask(cmd("PUBSUB").arg("NUMSUB").arg(INPUT)).await?;
    if subscribers > 0 {
        bail!(refuse(format!(
            "somebody is subscribed to {INPUT} at {at}: wait for the other bench to end, or stop it"
        )));
    }
    let memory = environment.info("memory").await?;
    let value = |name: &str| memory.get::<u64>(name).unwrap_or(0);
    let (limit, used) = (value("maxmemory"), value("used_memory"));
    if limit > 0 && used + extent.memory > limit {
        bail!(refuse(format!(
            "the bench takes about {} of the server at {at}, which may use {} and has used {} of it: take fewer \
             --messages, or raise maxmemory",
            ByteSize(extent.memory),
            ByteSize(limit),
            ByteSize(used)
        )));
    }
    Ok(())
}

/// Asks whether the bench may use the server.
///
/// # Errors
/// When there is nobody to ask, or the answer is no.
pub(crate) async fn ask(environment: &Environment, extent: Extent) -> anyhow::Result<()> {
    let at = environment.address().to_string();
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        let text =
            format!("the bench would write to the server at {at}, which is not its own: allow it with --yes");
        bail!(Coded { code: exit::USAGE, text });
    }
    let question = format!(
        "The bench will publish {} messages at {at}, one run after another, and load the server fully meanwhile.\n\
         It takes about {} of the server's memory at once, uses keys that begin with bench: or {{bench: and removes them.\n\
         Go on? [y/N] ",
        extent.messages,
        ByteSize(extent.memory)
    );
    // A thread that still waits for the answer after a signal ends with the process.
    let answer = spawn_blocking(move || {
        let mut answer = String::new();
        io::stderr().write_all(question.as_bytes())?;
        io::stdin().lock().read_line(&mut answer)?;
        io::Result::Ok(answer)
    });
    match answer.await??.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => bail!(Coded { code: exit::FAILED, text: "not measured: nothing was written".to_owned() }),
    }
}

/// How much is in a key.
async fn size(environment: &mut Environment, key: &str, kind: &str) -> anyhow::Result<(u64, &'static str)> {
    let (command, of) = match kind {
        "stream" => ("XLEN", "entries"),
        "list" => ("LLEN", "elements"),
        "set" => ("SCARD", "members"),
        "zset" => ("ZCARD", "members"),
        "hash" => ("HLEN", "fields"),
        "string" => ("STRLEN", "bytes"),
        _ => return Ok((1, "value")),
    };
    Ok((environment.ask(cmd(command).arg(key)).await?, of))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_is_that_of_one_run_and_the_messages_are_those_of_all() {
        let extent = Extent::new(7_000_000, 1_000_000, 53);
        assert_eq!(extent, Extent { messages: 7_000_000, memory: 173_000_000 });
    }
}
