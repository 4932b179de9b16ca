//! Which node a connection has to lead to.

use std::time::Duration;

use tokio::time::timeout;

use super::{Connection, sentinels};
use crate::redis::cluster::{Cluster, Map, Node};
use crate::redis::resp::command;
use crate::redis::server::Server;
use crate::redis::setback::{Kind, Setback};

/// What `CLIENT LIST` shows of those who ask.
const NAME: &str = "redis-consumer-group:explorer";

/// How long one node may take to tell what it knows of the others.
const PATIENCE: Duration = Duration::from_secs(1);

/// Finds out whether the address is one of a cluster, once.
pub(crate) async fn explore(server: &Server) -> Result<(), Setback> {
    if server.is_explored() {
        return Ok(());
    }
    let mut connection = Connection::open_at(server, None, NAME).await?;
    if !connection.is_clustered() {
        // Not asked where it is not needed: it takes a permission.
        server.explored(Err("it is no node of a cluster".to_owned()));
        return Ok(());
    }
    let asked = server.address().host().unwrap_or("127.0.0.1");
    match slots(&mut connection, asked).await? {
        Ok(map) => server.explored(Ok(Cluster::new(map))),
        // Whoever may not ask is told so when a key turns out to be elsewhere.
        Err(answer) if matches!(Kind::of(&answer), Kind::Unknown | Kind::Refusal) => {
            server.explored(Err(answer))
        }
        Err(answer) => return Err(Setback::Passing(answer)),
    }
    Ok(())
}

/// The node that serves what the server is asked for; `None` for the very address.
pub(crate) async fn locate(server: &Server) -> Result<Option<Node>, Setback> {
    if let Some(service) = server.service() {
        return sentinels::primary(server, service, Cluster::FRESH).await.map(Some);
    }
    if !server.is_one_of_many() {
        return Ok(None);
    }
    refresh(server, Cluster::FRESH).await;
    server.node().map_err(|slot| Setback::Passing(format!("CLUSTERDOWN no node serves slot {slot}")))
}

/// Asks the nodes of the cluster what they know of it, or the sentinels, if there are any, unless that was done within
/// `fresh`.
pub(crate) async fn refresh(server: &Server, fresh: Duration) {
    if let Some(service) = server.service() {
        // Whoever opens a connection is told.
        drop(sentinels::primary(server, service, fresh).await);
        return;
    }
    let Some(cluster) = server.cluster() else { return };
    let Some(turn) = cluster.turn(fresh).await else { return };
    // The address last: its nodes may all have others by now.
    let places = turn.nodes().into_iter().map(Some).chain([None]);
    let mut in_part = None;
    for node in places {
        match timeout(PATIENCE, ask(server, node.clone())).await {
            Ok(Some(map)) if map.is_whole() => return turn.end(Some((node, map))),
            // It may have left the cluster, or be cut off from it; or slots are unserved indeed.
            Ok(Some(map)) => drop(in_part.get_or_insert((node, map))),
            Ok(None) | Err(_) => {}
        }
    }
    turn.end(in_part);
}

async fn ask(server: &Server, node: Option<Node>) -> Option<Map> {
    let asked = node.as_ref().map(|node| node.host.as_str()).or(server.address().host());
    let asked = asked.unwrap_or("127.0.0.1").to_owned();
    let mut connection = Connection::open_at(server, node, NAME).await.ok()?;
    slots(&mut connection, &asked).await.ok()?.ok()
}

async fn slots(connection: &mut Connection, asked: &str) -> Result<Result<Map, String>, Setback> {
    let mut out = Vec::new();
    command(&mut out, &[b"CLUSTER", b"SLOTS"]);
    connection.send(&out).await?;
    connection
        .receive(|reply| match reply.error() {
            Some(answer) => Err(answer),
            None => {
                Map::read(&reply, asked).ok_or_else(|| format!("CLUSTER SLOTS makes no sense: {reply:?}"))
            }
        })
        .await
}
