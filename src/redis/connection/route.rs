//! Which node a connection has to lead to.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{Connection, sentinels};
use crate::redis::cluster::{Cluster, Map, Node, State, Told};
use crate::redis::fault::{Fault, Kind};
use crate::redis::resp::command;
use crate::redis::server::{LAST_WORD, Server};

/// What `CLIENT LIST` shows of those who ask.
const NAME: &str = "redis-consumer-group:explorer";

/// How long one node may take to tell what it knows of the others.
const TIMEOUT: Duration = Duration::from_secs(1);

/// When none of so many answers is sound, the best of them has to do.
const MOST_ANSWERS: usize = 8;

/// How long looking for one that tells may take. Those that did not are asked last the next time.
const LONGEST: Duration = Duration::from_secs(3);

/// How often it is asked who serves what, while an answer is missing.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Finds out whether the address is one of a cluster, once.
pub(crate) async fn explore(server: &Server) -> Result<(), Fault> {
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
    match told(&mut connection, None, asked).await? {
        Ok(told) => server.explored(Ok(Cluster::new(told))),
        // Whoever may not ask is told so when a key turns out to be elsewhere.
        Err(answer) if matches!(Kind::of(&answer), Kind::Unknown | Kind::Missing | Kind::Refusal) => {
            server.explored(Err(answer))
        }
        Err(answer) => return Err(Fault::Transient(answer)),
    }
    Ok(())
}

/// The node that serves what the server is asked for; `None` for the very address.
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
    let (mut answers, since) = (Vec::new(), Instant::now());
    for node in places {
        // Everybody who wants to connect waits for this.
        if since.elapsed() > LONGEST {
            break;
        }
        let Ok(Some(told)) = timeout(TIMEOUT, ask(server, node.clone())).await else {
            server.suspect(node.as_ref());
            continue;
        };
        let is_sound = turn.is_sound(&told);
        answers.push(told);
        // Others may know better than one that has left the cluster, or is cut off from it; where slots are unserved
        // indeed, or nodes are down, they all say so.
        if is_sound || answers.len() == MOST_ANSWERS {
            break;
        }
    }
    turn.end(answers);
}

/// Comes back when an answer of this node is not worth waiting for any more: another one serves what it was asked for, and
/// it has had time to say so. That is looked for more often than otherwise, since the answer may never come.
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
    // A node that a slot has left answers so, unless it stands still. What a former primary answers does not count.
    if server.service().is_none() {
        sleep(LAST_WORD).await;
    }
}

async fn ask(server: &Server, node: Option<Node>) -> Option<Told> {
    let asked = node.as_ref().map(|node| node.host.as_str()).or(server.address().host());
    let asked = asked.unwrap_or("127.0.0.1").to_owned();
    let mut connection = Connection::open_at(server, node.clone(), NAME).await.ok()?;
    told(&mut connection, node, &asked).await.ok()?.ok()
}

async fn told(
    connection: &mut Connection,
    by: Option<Node>,
    asked: &str,
) -> Result<Result<Told, String>, Fault> {
    let mut out = Vec::new();
    command(&mut out, &[b"CLUSTER", b"SLOTS"]);
    command(&mut out, &[b"CLUSTER", b"INFO"]);
    connection.send(&out).await?;
    let map = connection
        .receive(|reply| match reply.error() {
            Some(answer) => Err(answer),
            None => {
                Map::read(&reply, asked).ok_or_else(|| format!("CLUSTER SLOTS makes no sense: {reply:?}"))
            }
        })
        .await?;
    let state = connection.receive(|reply| State::read(&reply)).await?;
    Ok(map.map(|map| Told { by, map, state }))
}
