//! The handshake, and what the server reports about itself in its reply.

use std::fmt::Display;

use crate::error::Error;
use crate::redis::cluster::Node;
use crate::redis::fault::{Fault, Kind};
use crate::redis::reply::Reply;
use crate::redis::resp;
use crate::redis::server::Server;

/// The first version of Redis that has all we use: scripts with flags, and figures of a stream's groups.
const OLDEST_REDIS: u32 = 7;

/// Writes the handshake. `HELLO` needs no permission, so any user may send it.
pub(super) fn hello(out: &mut Vec<u8>, login: Option<(&str, &str)>, name: &str) {
    let mut hello: Vec<&[u8]> = vec![b"HELLO", b"2"];
    if let Some((user, password)) = login {
        hello.extend([b"AUTH", user.as_bytes(), password.as_bytes()]);
    }
    hello.extend([&b"SETNAME"[..], name.as_bytes()]);
    resp::command(out, &hello);
}

/// The contents of the reply to `HELLO`.
#[derive(Debug, Default)]
pub(super) struct Greeting {
    /// The connection's id, which is never 0.
    pub(super) id: u64,
    /// The server's role.
    pub(super) role: Vec<u8>,
    /// Whether it is a node of a cluster.
    pub(super) is_clustered: bool,
    /// Whether it is a sentinel, not a server.
    pub(super) is_sentinel: bool,
    /// The server's name for itself: "redis", "valkey".
    server: String,
    version: String,
}

impl Greeting {
    /// Reads the reply. The error is the server's own text.
    pub(super) fn read(hello: &Reply<'_>) -> Result<Self, String> {
        if let Some(answer) = hello.error() {
            return Err(answer);
        }
        let mut greeting = Self::default();
        let Reply::Array(Some(pairs)) = hello else { return Ok(greeting) };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        for pair in pairs.chunks_exact(2) {
            match pair {
                [Reply::Bulk(Some(b"id")), Reply::Int(id)] => greeting.id = u64::try_from(*id).unwrap_or(0),
                [Reply::Bulk(Some(b"role")), Reply::Bulk(Some(role))] => greeting.role = role.to_vec(),
                [Reply::Bulk(Some(b"server")), Reply::Bulk(Some(server))] => greeting.server = text(server),
                [Reply::Bulk(Some(b"version")), Reply::Bulk(Some(version))] => {
                    greeting.version = text(version);
                }
                [Reply::Bulk(Some(b"mode")), Reply::Bulk(Some(mode))] => {
                    greeting.is_clustered = *mode == b"cluster";
                    greeting.is_sentinel = *mode == b"sentinel";
                }
                _ => {}
            }
        }
        Ok(greeting)
    }

    /// Refuses a sentinel, and a server that is surely too old. `at` is the server's address.
    pub(super) fn check(&self, at: &dyn Display) -> Result<(), Error> {
        if self.is_sentinel {
            let problem = format!(
                "{at} is a sentinel, not a server; to use the primary that it monitors, write \
                 redis+sentinel://HOST:PORT/SERVICE"
            );
            return Err(Error::Config { option: "url", problem });
        }
        self.check_version(at)
    }

    /// Refuses a server or a sentinel that is surely too old.
    pub(super) fn check_version(&self, at: &dyn Display) -> Result<(), Error> {
        if !is_too_old(&self.server, &self.version) {
            return Ok(());
        }
        let problem = format!("{at} is {} {}, {NEEDED}", self.server, self.version);
        Err(Error::Config { option: "url", problem })
    }
}

const NEEDED: &str = "but Redis 7.0 or later, or Valkey, is required; upgrade the server, or use another one";

/// Whether a server of this name and version lacks what we need. Servers other than Redis number their versions
/// differently.
fn is_too_old(server: &str, version: &str) -> bool {
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    server == "redis" && major.is_some_and(|major| major < OLDEST_REDIS)
}

/// The error for a server or a sentinel that does not know HELLO.
pub(super) fn without_hello(at: &dyn Display, answer: &str) -> Error {
    let problem = format!("{at} does not know HELLO ({answer}), {NEEDED}");
    Error::Config { option: "url", problem }
}

/// The fault for a refused handshake.
pub(super) fn refused(server: &Server, node: Option<&Node>, answer: &str) -> Fault {
    let address = server.address().to_string();
    match (Kind::of(answer), server.fault("HELLO", "", answer)) {
        (Kind::Login, _) => server.login_refused(node, answer),
        (Kind::Missing, _) => {
            let at = node.map_or(address, Node::to_string);
            Fault::Permanent(without_hello(&at, answer))
        }
        (Kind::Unknown, Fault::Transient(answer)) => {
            Fault::Permanent(Error::Protocol { address, what: "HELLO", answer })
        }
        (_, fault) => fault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;
    use crate::redis::reply::parse;

    /// As real servers replied.
    fn greeting(server: &str, version: &str) -> Greeting {
        let answer = format!(
            "*14\r\n$6\r\nserver\r\n${}\r\n{server}\r\n$7\r\nversion\r\n${}\r\n{version}\r\n$5\r\nproto\r\n:2\r\n\
             $2\r\nid\r\n:3\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n\
             $7\r\nmodules\r\n*1\r\n*8\r\n$4\r\nname\r\n$9\r\nvectorset\r\n$3\r\nver\r\n:1\r\n\
             $4\r\npath\r\n$0\r\n\r\n$4\r\nargs\r\n*0\r\n",
            server.len(),
            version.len()
        );
        let (reply, used) = parse(answer.as_bytes()).unwrap().unwrap();
        assert_eq!(used, answer.len());
        Greeting::read(&reply).unwrap()
    }

    #[test]
    fn an_old_redis_is_refused_with_its_version() {
        let address: Address = "redis://h:1".parse().unwrap();
        for old in ["6.2.14", "6.3.4", "5.0.165"] {
            let error = greeting("redis", old).check(&address).unwrap_err().to_string();
            assert!(
                error.contains(&format!("redis://h:1 is redis {old}, but Redis 7.0 or later")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_server_that_is_new_enough_or_has_other_version_numbers_is_accepted() {
        let address: Address = "redis://h:1".parse().unwrap();
        for (server, version) in [
            ("redis", "7.0.15"),
            ("redis", "8.6.3"),
            ("valkey", "9.1.2"),
            ("other", "1.0"),
            ("redis", "?"),
            ("", ""),
        ] {
            greeting(server, version).check(&address).unwrap();
        }
    }
}
