//! Checks before the first message: the types of the keys, permissions, and settings that cause trouble later.

use redis::aio::MultiplexedConnection;
use redis::{InfoDict, RedisResult, cmd, pipe};
use uuid::Uuid;

use super::control::Control;
use super::fault::Fault;
use super::ids::Names;
use super::nodes::Nodes;
use super::registry;
use crate::config::{Commit, Config, SourceKind, Trim};
use crate::error::Error;
use crate::shards::ShardSet;
use crate::slot::{self, beside};

/// Checks the keys and the permissions.
///
/// # Errors
/// A key of the wrong type, a command that an ACL does not permit, or a configuration that a cluster cannot serve.
pub(crate) async fn check(nodes: &mut Nodes, config: &Config) -> Result<(), Fault> {
    let is_cluster = nodes.server().cluster().is_some();
    if config.source == SourceKind::Sharded {
        nodes.server().must_be_a_cluster().map_err(Fault::Permanent)?;
    }
    let spill = config.spill();
    let input = (config.source == SourceKind::Stream).then_some((&config.input, "stream", "input"));
    let others = [
        (&config.output, "stream", "output"),
        (&config.rejected, "stream", "rejected"),
        (&config.ids_key, "list", "ids-key"),
    ];
    let spill = spill.as_ref().map(|spill| (spill, "stream", "spill-key"));
    let registry = registry::Names::of(config);
    let leases = registry.as_ref().map(|names| (&names.leases, "zset", names.option_of_leases()));
    let keys: Vec<_> = input.into_iter().chain(others).chain(spill).chain(leases).collect();
    if is_cluster {
        check_names(&keys)?;
        check_slots(config)?;
    }
    for (key, needed, option) in keys {
        let (control, connection) = nodes.at(key).await?;
        let found: String = cmd("TYPE")
            .arg(key)
            .query_async(connection)
            .await
            .map_err(|error| control.fault(&format!("TYPE {key}"), &format!("+type ~{key}"), &error))?;
        if found != needed && found != "none" {
            return Err(Fault::Permanent(Error::WrongType { key: key.clone(), found, needed, option }));
        }
    }
    if let Some(names) = &registry {
        let (control, connection) = nodes.at(&names.input).await?;
        let trims = match config.source {
            SourceKind::Stream => config.stream.trim == Trim::Acknowledged,
            SourceKind::Rejected => false,
            SourceKind::PubSub | SourceKind::Sharded => true,
        };
        rehearse_reading(&control, connection, names, trims).await?;
    }
    let (control, connection) = nodes.at(&config.ids_key).await?;
    rehearse_leaving(&control, connection, &config.ids_key).await
}

fn refused(option: &'static str, problem: String) -> Fault {
    Fault::Permanent(Error::Config { option, problem })
}

/// On a cluster, the keys that we keep beside a key must be in its slot.
fn check_names(keys: &[(&String, &str, &'static str)]) -> Result<(), Fault> {
    match keys.iter().find(|(key, ..)| slot::of(&beside(key, "lane")) != slot::of(key)) {
        None => Ok(()),
        Some((key, _, option)) => Err(refused(
            option,
            format!(
                "no name beside {key:?} can share its slot in a cluster, because of its braces; leave them out, or put \
                 them around a part that is not empty, as in {{messages}}:processed"
            ),
        )),
    }
}

/// On a cluster, all keys of a commit must be in one slot.
fn check_slots(config: &Config) -> Result<(), Fault> {
    let spill = config.spill();
    let moved_from = match (config.source, &spill) {
        (SourceKind::Stream, _) => ("input", &config.input),
        (SourceKind::Rejected, _) => ("rejected", &config.rejected),
        (SourceKind::PubSub | SourceKind::Sharded, Some(spill)) => ("spill-key", spill),
        (SourceKind::PubSub | SourceKind::Sharded, None) => return Ok(()),
    };
    if config.commit == Commit::AtLeastOnce {
        return Ok(());
    }
    let way_out = match (config.source, &spill) {
        (SourceKind::Rejected, _) => "",
        (_, Some(_)) => ", or set overflow to drop",
        (_, None) => ", or set commit to at-least-once",
    };
    let others = [("output", &config.output), ("rejected", &config.rejected)];
    match others.into_iter().find(|(_, key)| slot::of(key) != slot::of(moved_from.1)) {
        None => Ok(()),
        Some((option, key)) => Err(refused(
            option,
            format!(
                "{key} and {} are in different slots of the cluster, so no commit can acknowledge in one and append to \
                 the other; give them names with one tag, as {{messages}}:published, {{messages}}:processed and \
                 {{messages}}:rejected have, or shard tags where there are shards{way_out}",
                moved_from.1
            ),
        )),
    }
}

/// Queues the commands of a stop and discards them, so that a missing permission shows now and not at the stop.
///
/// A stop that cannot remove its ids leaves them behind.
async fn rehearse_leaving(
    control: &Control,
    connection: &mut MultiplexedConnection,
    ids_key: &str,
) -> Result<(), Fault> {
    let names = Names::new(ids_key);
    let held = names.held_by(Uuid::nil());
    let needs =
        format!("+multi +discard +lrem +spop +zrem +hdel ~{} ~{}", names.ids, beside(&names.ids, "*"));
    let commands = [
        vec!["LREM", &names.ids, "1", "nobody"],
        vec!["SPOP", &held],
        vec!["ZREM", &names.leases, "nobody"],
        vec!["HDEL", &names.processes, "nobody"],
    ];
    rehearse(control, connection, "what a stop needs", &needs, &commands).await
}

/// Does the same with the commands that readers of a stream need when another reader has died.
async fn rehearse_reading(
    control: &Control,
    connection: &mut MultiplexedConnection,
    names: &registry::Names,
    trims: bool,
) -> Result<(), Fault> {
    let registry::Names { input, group, leases, .. } = names;
    let token = names.token(Uuid::nil());
    let mut commands = vec![
        vec!["XPENDING", input, group],
        vec!["XCLAIM", input, group, "nobody", "0", "0-1"],
        vec!["XACK", input, group, "0-1"],
        vec!["XLEN", input],
        vec!["XGROUP", "DELCONSUMER", input, group, "nobody"],
        vec!["XREADGROUP", "GROUP", group, "nobody", "COUNT", "1", "STREAMS", input, ">"],
        vec!["ZSCORE", leases, "nobody"],
        vec!["ZRANGE", leases, "0", "0"],
        vec!["ZREM", leases, "nobody"],
        vec!["EXISTS", &token],
        vec!["UNLINK", &token],
    ];
    if names.is_of_replay() {
        commands.push(vec!["XDEL", input, "0-1"]);
        commands.push(vec!["XGROUP", "DESTROY", input, group]);
    }
    if names.option == "input" || names.is_of_replay() {
        commands.push(vec!["XRANGE", input, "-", "+", "COUNT", "1"]);
    }
    if trims {
        commands.push(vec!["XTRIM", input, "MINID", "0"]);
    }
    let needs: Vec<_> = commands.iter().map(|command| format!("+{}", command[0].to_lowercase())).collect();
    let needs = format!("+multi +discard {} ~{input} ~{}", needs.join(" "), beside(input, "*"));
    rehearse(control, connection, &format!("reading {input} together with others"), &needs, &commands).await
}

async fn rehearse(
    control: &Control,
    connection: &mut MultiplexedConnection,
    what: &str,
    needs: &str,
    commands: &[Vec<&str>],
) -> Result<(), Fault> {
    let mut rehearsal = pipe();
    rehearsal.cmd("MULTI").ignore();
    for command in commands {
        rehearsal.cmd(command[0]).arg(&command[1..]).ignore();
    }
    rehearsal.cmd("DISCARD").ignore();
    let Err(error) = rehearsal.exec_async(connection).await else { return Ok(()) };
    match control.fault(what, needs, &error) {
        Fault::Permanent(error) => Err(Fault::Permanent(error)),
        // A server that is out of memory checks nothing in a transaction. A stop itself needs no memory.
        Fault::Transient(_) => Ok(()),
    }
}

/// Warns about settings that cause trouble later. None of them prevents the start.
pub(crate) async fn warn(nodes: &mut Nodes, config: &Config) -> Result<(), Fault> {
    let (_, connection) = nodes.at(&config.output).await?;
    let info: RedisResult<InfoDict> = cmd("INFO").query_async(connection).await;
    match info {
        Ok(info) => {
            let policy: String = info.get("maxmemory_policy").unwrap_or_default();
            let limit: u64 = info.get("maxmemory").unwrap_or_default();
            if limit > 0 && policy.starts_with("allkeys") {
                tracing::warn!(
                    event = "eviction_policy",
                    "the server may evict the output, the consumer ids and the lanes when its memory is full \
                     (maxmemory-policy {policy}); set the policy to noeviction or to a volatile- one"
                );
            }
        }
        Err(error) => {
            tracing::debug!("cannot check the server's eviction policy: INFO is not allowed ({error})");
            if nodes.server().has_successors() && !config.keep.is_zero() {
                tracing::warn!(
                    event = "no_info",
                    "INFO is not allowed, so commits that a promoted node lacks will not be repeated; grant +info, or \
                     set keep to 0"
                );
            }
        }
    }
    Ok(())
}

fn all<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(" and ")
}

/// Logs the start, and what users of this configuration should know, once for all shards.
pub(crate) fn log_start(config: &Config) {
    let (channel, stream) = match config.source {
        SourceKind::PubSub | SourceKind::Sharded => (Some(config.input.as_str()), None),
        SourceKind::Stream => (None, Some(config.input.as_str())),
        SourceKind::Rejected => (None, Some(config.rejected.as_str())),
    };
    let input = channel.or(stream).unwrap_or_default();
    let shards = config.sharding();
    let what = match &shards {
        None => format!("reading {input} at {}, appending to {}", config.address, config.output),
        Some(shards) => format!(
            "reading {} of {} shards ({}): {} at {}, appending to {}",
            shards.here().count(),
            shards.count,
            shards.here().collect::<ShardSet>(),
            shards.names(input),
            config.address,
            shards.names(&config.output)
        ),
    };
    tracing::info!(
        event = "start",
        channel,
        stream,
        output = config.output,
        consumers = config.consumers,
        shards = shards.map(|shards| shards.here().count()),
        "{what}"
    );
    log_hints(config);
}

fn log_hints(config: &Config) {
    let shards = if config.sharding().is_some() { " (each shard's)" } else { "" };
    let untrimmed = [
        ("maxlen", &config.output, config.maxlen),
        ("rejected-maxlen", &config.rejected, config.rejected_maxlen),
    ];
    let hints = config.source != SourceKind::Rejected;
    let untrimmed: Vec<_> = untrimmed.into_iter().filter(|(.., maxlen)| hints && maxlen.is_none()).collect();
    let (streams, options) = (all(untrimmed.iter().map(|it| &**it.1)), all(untrimmed.iter().map(|it| it.0)));
    match untrimmed.len() {
        0 => {}
        1 => tracing::info!(
            event = "no_maxlen",
            streams,
            "nothing trims {streams}{shards}, so it grows without end; set {options} to keep about that many entries"
        ),
        _ => tracing::info!(
            event = "no_maxlen",
            streams,
            "nothing trims {streams}{shards}, so they grow without end; set {options} to keep about that many entries"
        ),
    }
    if config.commit == Commit::AtLeastOnce {
        tracing::warn!(
            event = "at_least_once",
            stream = config.output,
            "with at-least-once commits, records may be in {}{shards} twice after a connection breaks",
            config.output
        );
    }
}
