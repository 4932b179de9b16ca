//! The errors for a server that cannot be reached or refuses something, and what to try next.

use super::Server;
use crate::address::Endpoint;
use crate::error::Error;
use crate::redis::cluster::Cluster;
use crate::redis::fault::{Fault, Kind};
use crate::redis::login::{LOGIN_REFUSED, NO_CREDENTIALS};

impl Server {
    /// Fails if the server is not a node of a cluster, or does not say so.
    ///
    /// # Errors
    /// [`Error::Config`] for the option `source`, or [`Error::Refused`] with what to grant.
    pub(crate) fn must_be_a_cluster(&self) -> Result<(), Error> {
        match self.access.cluster.get() {
            Some(Ok(_)) => Ok(()),
            Some(Err(answer)) if Kind::of(answer) == Kind::Refusal => Err(Error::Refused {
                address: self.address().to_string(),
                what: "CLUSTER SLOTS".to_owned(),
                answer: answer.clone(),
                try_next: self.what_to_grant("+cluster|slots +cluster|info"),
            }),
            _ => Err(Error::Config {
                option: "source",
                problem: format!(
                    "{} is not a cluster node, and sharded channels need a cluster; set source to pubsub",
                    self.address()
                ),
            }),
        }
    }

    /// The error for a server that could not be reached in time, or kept answering that it cannot serve yet.
    pub(crate) fn unavailable(&self, cause: String) -> Error {
        let cause = match self.cluster().and_then(Cluster::unserved) {
            Some(slots) if cause.starts_with("CLUSTERDOWN") => {
                format!("{cause}; no node has the slots {slots}")
            }
            _ => cause,
        };
        let try_next = if cause.contains("CertificateRequired") {
            "the server asks for a certificate: give a client certificate and its key (tls-cert, tls-key)"
                .to_owned()
        } else if cause.contains("certificate") || cause.contains("UnknownIssuer") {
            "give the CA certificate of the server (tls-ca)".to_owned()
        } else if cause.starts_with(NO_CREDENTIALS) {
            "fix the credentials, then start again".to_owned()
        } else if cause.starts_with(LOGIN_REFUSED) {
            self.check_the_login()
        } else if cause.starts_with("CLUSTERDOWN") {
            self.check_the_cluster()
        } else if Kind::of(&cause) == Kind::Transient {
            what_is_missing(&cause).to_owned()
        } else if self.cluster().is_some() {
            self.check_the_cluster()
        } else {
            match self.address().endpoint() {
                Endpoint::Unix(path) => format!("check that the server listens on {}", path.display()),
                Endpoint::Tcp { host, port } => {
                    format!(
                        "check that it runs (redis-cli -h {host} -p {port} ping) and that the address is right"
                    )
                }
                Endpoint::Tls { host, port } => {
                    format!(
                        "check that it runs (redis-cli --tls -h {host} -p {port} ping) and that the address is right"
                    )
                }
                Endpoint::Sentinels(sentinels) => {
                    let (service, tls) = (&sentinels.service, if sentinels.tls { "--tls " } else { "" });
                    let (host, port) = sentinels.hosts.first().map_or(("", 0), |(host, port)| (host, *port));
                    format!(
                        "check what the sentinels say (redis-cli {tls}-h {host} -p {port} sentinel \
                         get-master-addr-by-name {service}), that the server runs, and that the address is right"
                    )
                }
            }
        };
        let address = self.address().to_string();
        match Kind::of(&cause) {
            Kind::Transient => Error::NotReady { address, cause, try_next },
            _ => Error::Unreachable { address, cause, try_next },
        }
    }

    /// What to try if the address is right, but the cluster lacks something.
    fn check_the_cluster(&self) -> String {
        let check = match self.address().endpoint() {
            Endpoint::Tcp { host, port } => format!("redis-cli --cluster check {host}:{port}"),
            Endpoint::Tls { host, port } => format!("redis-cli --tls --cluster check {host}:{port}"),
            Endpoint::Unix(_) | Endpoint::Sentinels(_) => {
                "redis-cli --cluster check HOST:PORT, with any node".to_owned()
            }
        };
        format!("find out what is missing with {check}, then start again")
    }

    /// The fault for an error reply to the command `what`. `needs` is the ACL rule that permits it.
    pub(crate) fn fault(&self, what: &str, needs: &str, answer: &str) -> Fault {
        match Kind::of(answer) {
            Kind::Refusal => Fault::Permanent(Error::Refused {
                address: self.address().to_string(),
                what: what.to_owned(),
                answer: answer.to_owned(),
                try_next: self.what_to_grant(needs),
            }),
            Kind::Login => self.not_logged_in(what, answer),
            Kind::Cluster => self.elsewhere(what, answer),
            Kind::Missing => Fault::Permanent(Error::Refused {
                address: self.address().to_string(),
                what: what.to_owned(),
                // The arguments may contain a whole script.
                answer: answer.to_owned(),
                try_next:
                    "look for rename-command in the server's configuration, and restore the command's name"
                        .to_owned(),
            }),
            Kind::Unknown
                if answer.contains("DB index")
                    || answer.contains("SELECT is not allowed in cluster mode") =>
            {
                Fault::Permanent(Error::Config {
                    option: "url",
                    problem: format!(
                        "the server has no such database ({answer}): {}; {}",
                        self.address(),
                        match answer.contains("cluster mode") {
                            true => "a cluster has only database 0: leave it out",
                            false => "name another one",
                        }
                    ),
                })
            }
            Kind::Transient | Kind::WrongType | Kind::Unknown => Fault::Transient(answer.to_owned()),
        }
    }

    /// The fault for a node of a cluster that redirects us to another node.
    fn elsewhere(&self, what: &str, answer: &str) -> Fault {
        let problem = match self.cluster() {
            Some(_) if answer.starts_with("CROSSSLOT") => format!(
                "the keys of {what} are in different slots of the cluster ({answer}); give them names with the same tag, \
                 such as {{messages}}:published and {{messages}}:processed"
            ),
            // The key has moved or is moving. The next connection leads to its node.
            Some(cluster) => {
                cluster.learn(answer);
                return Fault::Transient(answer.to_owned());
            }
            None => {
                let refused = self.access.cluster.get().and_then(|found| found.as_ref().err());
                return Fault::Permanent(Error::Refused {
                    address: self.address().to_string(),
                    what: format!("CLUSTER SLOTS, and {what} is at another node ({answer})"),
                    answer: refused.cloned().unwrap_or_default(),
                    try_next: self.what_to_grant("+cluster|slots +cluster|info"),
                });
            }
        };
        Fault::Permanent(Error::Config { option: "url", problem })
    }

    fn what_to_grant(&self, needs: &str) -> String {
        let user = self.user();
        format!("the user {user:?} needs {needs} (ACL SETUSER {user} {needs})")
    }
}

/// What to do about a server that cannot serve yet.
fn what_is_missing(answer: &str) -> &'static str {
    match answer.split_whitespace().next().unwrap_or_default() {
        "LOADING" => "it is still loading its data: try again later",
        "READONLY" => "this server is a read-only replica: connect to its primary",
        "OOM" => "raise its maxmemory or free memory, then start again",
        "MISCONF" => "find out why it cannot save to disk (redis-cli info persistence), then start again",
        "BUSY" => {
            "wait for the script that it is running, or end the script with SCRIPT KILL, then start again"
        }
        "NOREPLICAS" => "connect as many replicas as its min-replicas-to-write requires, then start again",
        _ if answer.contains("max number of clients") => {
            "raise its maxclients or close connections, then start again"
        }
        _ => "fix this on the server, then start again",
    }
}
