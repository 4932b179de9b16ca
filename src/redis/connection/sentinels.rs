//! Asks the sentinels of a service for its primary, and listens for their announcements.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::Connection;
use super::hello::{Greeting, hello, without_hello};
use crate::address::Endpoint;
use crate::error::Error;
use crate::redis::cluster::{Cluster, Node};
use crate::redis::fault::{Fault, Kind};
use crate::redis::resp::command;
use crate::redis::sentinel::{Named, Service, primary_in, switched};
use crate::redis::server::Server;
use crate::text::Lasted;

/// The name that a sentinel's `CLIENT LIST` shows.
const NAME: &str = "redis-consumer-group:explorer";
/// How long one sentinel may take to answer.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The pause between two attempts to subscribe at a sentinel.
const PAUSE: Duration = Duration::from_millis(500);
/// The channel where a sentinel announces a new primary.
const SWITCHED: &[u8] = b"+switch-master";
/// What to check when a sentinel refuses the login.
const LOGIN: &str = "check sentinel_user and sentinel_password in the URL; user and password before the @ are those of \
                     the server";

/// The primary of the service, as one of the sentinels names it.
pub(super) async fn primary(server: &Server, service: &Service, fresh: Duration) -> Result<Node, Fault> {
    service.primary(fresh, async || ask_in_turn(server, service).await).await
}

async fn ask_in_turn(server: &Server, service: &Service) -> Result<Named, Fault> {
    let sentinels = service.sentinels();
    let (mut refusals, mut strangers, mut causes) = (Vec::new(), 0, Vec::new());
    for sentinel in &sentinels {
        let silence = || Err(Fault::Transient(format!("no answer for {} at {sentinel}", Lasted(TIMEOUT))));
        match timeout(TIMEOUT, ask(server, service, sentinel)).await.unwrap_or_else(|_| silence()) {
            Ok(Some(primary)) => return Ok(Named { primary, sentinel: sentinel.clone() }),
            Ok(None) => {
                strangers += 1;
                causes.push(format!("{sentinel} does not know it"));
            }
            Err(Fault::Permanent(refusal)) => {
                causes.push(refusal.to_string());
                refusals.push(refusal);
            }
            Err(Fault::Transient(cause)) => causes.push(cause),
        }
    }
    // If the service was known before, a recreated sentinel will know it again.
    let all_refuse = refusals.len() == sentinels.len();
    if let Some(refusal) = refusals.into_iter().next().filter(|_| all_refuse || !service.is_known()) {
        return Err(Fault::Permanent(refusal));
    }
    if strangers == sentinels.len() && !service.is_known() {
        return Err(Fault::Permanent(Error::Config { option: "url", problem: unknown(server, service) }));
    }
    let name = service.name();
    Err(Fault::Transient(format!("no sentinel names the primary of {name:?} ({})", causes.join("; "))))
}

fn unknown(server: &Server, service: &Service) -> String {
    format!(
        "no sentinel of {} knows a service {:?}; SENTINEL MASTERS lists the known ones: put the right name after \
         the hosts in the URL",
        server.address(),
        service.name()
    )
}

/// The answer of one sentinel; `None` if it does not know the service.
async fn ask(server: &Server, service: &Service, sentinel: &Node) -> Result<Option<Node>, Fault> {
    let mut connection = open(server, sentinel).await?;
    let mut out = Vec::new();
    command(&mut out, &[b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", service.name().as_bytes()]);
    let asking = async {
        connection.send(&out).await?;
        connection.receive(|reply| reply.error().map_or_else(|| Ok(primary_in(&reply)), Err)).await
    };
    match asking.await.map_err(|fault| at(fault, sentinel))? {
        Ok(Some(primary)) => Ok(primary),
        Ok(None) => Err(Fault::Transient(format!("invalid answer at {sentinel}"))),
        Err(answer) => Err(refused(
            sentinel,
            "SENTINEL GET-MASTER-ADDR-BY-NAME",
            answer,
            &format!(
                "grant it at each sentinel: ACL SETUSER {} +sentinel|get-master-addr-by-name",
                user(server)
            ),
        )),
    }
}

/// Opens a connection to a sentinel, which has its own users and passwords.
async fn open(server: &Server, sentinel: &Node) -> Result<Connection, Fault> {
    let socket = server.open(Some(sentinel)).await.map_err(|error| at(error.into(), sentinel))?;
    let mut connection = Connection::on(socket, Some(sentinel.clone()));
    let mut out = Vec::new();
    let login = match server.address().endpoint() {
        Endpoint::Sentinels(sentinels) => sentinels.password().map(|password| (sentinels.user(), password)),
        Endpoint::Tcp { .. } | Endpoint::Tls { .. } | Endpoint::Unix(_) => None,
    };
    hello(&mut out, login, NAME);
    let greeting = async {
        connection.send(&out).await?;
        connection.receive(|reply| Greeting::read(&reply)).await
    };
    let greeting = match greeting.await.map_err(|fault| at(fault, sentinel))? {
        Ok(greeting) => greeting,
        Err(answer) if Kind::of(&answer) == Kind::Missing => {
            return Err(Fault::Permanent(without_hello(sentinel, &answer)));
        }
        Err(answer) => return Err(refused(sentinel, "the login at this sentinel", answer, LOGIN)),
    };
    greeting.check_version(sentinel).map_err(Fault::Permanent)?;
    Ok(connection)
}

/// The user at the sentinels.
fn user(server: &Server) -> &str {
    match server.address().endpoint() {
        Endpoint::Sentinels(sentinels) => sentinels.user(),
        Endpoint::Tcp { .. } | Endpoint::Tls { .. } | Endpoint::Unix(_) => "default",
    }
}

fn refused(sentinel: &Node, what: &str, answer: String, try_next: &str) -> Fault {
    match Kind::of(&answer) {
        Kind::Refusal | Kind::Login => Fault::Permanent(Error::Refused {
            address: sentinel.to_string(),
            what: what.to_owned(),
            answer,
            try_next: try_next.to_owned(),
        }),
        _ if answer.contains("unknown command") => {
            Fault::Transient(format!("{sentinel} is not a sentinel: {answer}"))
        }
        _ => at(Fault::Transient(answer), sentinel),
    }
}

fn at(fault: Fault, sentinel: &Node) -> Fault {
    match fault {
        Fault::Transient(cause) => Fault::Transient(format!("{cause} at {sentinel}")),
        refusal @ Fault::Permanent(_) => refusal,
    }
}

/// Listens to the sentinels, one at a time, for a new primary. Returns at once if there are none.
///
/// A missed announcement is noticed when the sentinels are asked the next time.
pub(crate) async fn listen(server: &Server) {
    let Some(service) = server.service() else { return };
    loop {
        for sentinel in service.sentinels() {
            if let Err(fault) = listen_at(server, service, &sentinel).await {
                tracing::debug!("cannot listen to the sentinel {sentinel}: {fault:?}; trying the next one");
            }
            sleep(PAUSE).await;
        }
    }
}

/// Listens at one sentinel until a fault ends it. A sentinel that does not answer a PING is given up.
async fn listen_at(server: &Server, service: &Service, sentinel: &Node) -> Result<(), Fault> {
    let silence = || Fault::Transient("it is silent".to_owned());
    let mut connection = timeout(TIMEOUT, open(server, sentinel)).await.map_err(|_| silence())??;
    let mut out = Vec::new();
    command(&mut out, &[b"SUBSCRIBE", SWITCHED]);
    loop {
        connection.send(&out).await?;
        let (until, mut heard) = (Instant::now() + Cluster::REFRESH, false);
        while let Ok(answer) =
            timeout_at(until, connection.receive(|reply| (reply.error(), switched(&reply, service.name()))))
                .await
        {
            heard = true;
            match answer? {
                (Some(refusal), _) => return Err(Fault::Transient(refusal)),
                (None, Some(primary)) => {
                    tracing::info!(
                        event = "new_primary",
                        service = service.name(),
                        primary = %primary,
                        "{} has a new primary: {primary}",
                        service.name()
                    );
                    service.learn(Named { primary, sentinel: sentinel.clone() });
                }
                (None, None) => {}
            }
        }
        if !heard {
            return Err(silence());
        }
        out.clear();
        command(&mut out, &[b"PING"]);
    }
}
