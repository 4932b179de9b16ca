//! Which node a connection must lead to.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{Connection, sentinels};
use crate::redis::cluster::{Cluster, Map, Node, State, View};
use crate::redis::fault::{Fault, Kind};
use crate::redis::resp::command;
use crate::redis::server::{LAST_WORD, Server};

/// The name that `CLIENT LIST` shows for connections that ask about the cluster.
const NAME: &str = "redis-consumer-group:explorer";

/// How long one node may take to describe the cluster.
const TIMEOUT: Duration = Duration::from_secs(1);

/// After this many answers of which none is sound, the best of them is used.
const MOST_ANSWERS: usize = 8;

/// How long the search for a node that answers may take. Those that did not answer are asked last the next time.
const LONGEST: Duration = Duration::from_secs(3);

/// How often the map is refreshed while an answer is missing.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Finds out, once, whether the address belongs to a cluster.
pub(crate) async fn explore(server: &Server) -> Result<(), Fault> {
    if server.is_explored() {
        return Ok(());
    }
    let mut connection = Connection::open_at(server, None, NAME).await?;
    if !connection.is_clustered() {
        // A single server is not asked, because `CLUSTER SLOTS` needs a permission.
        server.explored(Err("it is not a cluster node".to_owned()));
        return Ok(());
    }
    let asked = server.address().host().unwrap_or("127.0.0.1");
    match read_view(&mut connection, None, asked).await? {
        Ok(view) => server.explored(Ok(Cluster::new(view))),
        // If `CLUSTER SLOTS` is refused, that is reported only when a key turns out to be at another node.
        Err(answer) if matches!(Kind::of(&answer), Kind::Unknown | Kind::Missing | Kind::Refusal) => {
            server.explored(Err(answer))
        }
        Err(answer) => return Err(Fault::Transient(answer)),
    }
    Ok(())
}

/// The node that serves the request; `None` for the configured address.
pub(crate) async fn locate(server: &Server) -> Result<Option<Node>, Fault> {
    if let Some(service) = server.service() {
        return sentinels::primary(server, service, Cluster::FRESH).await.map(Some);
    }
    if !server.is_one_of_many() {
        return Ok(None);
    }
    refresh(server, Cluster::FRESH).await;
    server.node().map_err(|slot| Fault::Transient(format!("CLUSTERDOWN no node serves slot {slot}")))
}

/// Asks the cluster's nodes, or the sentinels, who serves what, unless that was done within `fresh`.
pub(crate) async fn refresh(server: &Server, fresh: Duration) {
    if let Some(service) = server.service() {
        // The next connection that is opened reports the error.
        drop(sentinels::primary(server, service, fresh).await);
        return;
    }
    let Some(cluster) = server.cluster() else { return };
    let Some(turn) = cluster.turn(fresh).await else { return };
    // The configured address is last, in case all known nodes have other addresses by now.
    let places = turn.nodes().into_iter().map(Some).chain([None]);
    let (mut answers, since) = (Vec::new(), Instant::now());
    for node in places {
        // All connections that are being opened wait for this.
        if since.elapsed() > LONGEST {
            break;
        }
        let Ok(Some(view)) = timeout(TIMEOUT, ask(server, node.clone())).await else {
            server.suspect(node.as_ref());
            continue;
        };
        let is_sound = turn.is_sound(&view);
        answers.push(view);
        // A node that has left the cluster, or is cut off from it, may be wrong, so others are asked. If slots are
        // really unserved or nodes are down, all of them say so.
        if is_sound || answers.len() == MOST_ANSWERS {
            break;
        }
    }
    turn.end(answers);
}

/// Returns when this node's answer is not worth waiting for: another node serves the request now, and this one had
/// time to say so. Refreshes more often than usual, because the answer may never come.
pub(crate) async fn answers_no_more(server: &Server, node: Option<&Node>) {
    let looking = async {
        loop {
            sleep(LOOK_EVERY).await;
            refresh(server, LOOK_EVERY / 2).await;
        }
    };
    tokio::select! {
        _ = server.left(node) => {}
        () = looking, if server.has_successors() => {}
    }
    // A node that a slot has left says so, unless it stands still. The answer of a former primary does not count.
    if server.service().is_none() {
        sleep(LAST_WORD).await;
    }
}

async fn ask(server: &Server, node: Option<Node>) -> Option<View> {
    let asked = node.as_ref().map(|node| node.host.as_str()).or(server.address().host());
    let asked = asked.unwrap_or("127.0.0.1").to_owned();
    let mut connection = Connection::open_at(server, node.clone(), NAME).await.ok()?;
    read_view(&mut connection, node, &asked).await.ok()?.ok()
}

async fn read_view(
    connection: &mut Connection,
    by: Option<Node>,
    asked: &str,
) -> Result<Result<View, String>, Fault> {
    let mut out = Vec::new();
    command(&mut out, &[b"CLUSTER", b"SLOTS"]);
    command(&mut out, &[b"CLUSTER", b"INFO"]);
    connection.send(&out).await?;
    let map = connection
        .receive(|reply| match reply.error() {
            Some(answer) => Err(answer),
            None => Map::read(&reply, asked)
                .ok_or_else(|| format!("the answer to CLUSTER SLOTS is invalid: {reply:?}")),
        })
        .await?;
    let state = connection.receive(|reply| State::read(&reply)).await?;
    Ok(map.map(|map| View { by, map, state }))
}
