//! Replaces TLS where the feature `tls` is off, and refuses it.

use std::convert::Infallible;
use std::io;

use tokio::net::TcpStream;

use super::Socket;
use crate::config::Tls;
use crate::error::Error;

/// Cannot exist without the feature.
pub(super) struct Encryption(Infallible);

impl Encryption {
    /// # Errors
    /// Always.
    pub(super) fn new(_: &Tls) -> Result<Self, Error> {
        let problem = "this build cannot encrypt connections; enable the feature `tls` of redis-consumer-group, or use an \
                       address without TLS, such as redis://";
        Err(Error::Config { option: "url", problem: problem.to_owned() })
    }

    pub(super) async fn encrypt(&self, _: &str, _: TcpStream) -> io::Result<Box<dyn Socket>> {
        match self.0 {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::Server;
    use super::*;

    #[test]
    fn an_address_with_tls_is_refused_with_the_feature_that_it_needs() {
        for url in ["rediss://localhost", "rediss+sentinel://localhost/service"] {
            let refused = Server::new(url.parse().unwrap(), &Tls::default()).err().unwrap().to_string();
            assert!(refused.starts_with("url: ") && refused.contains("feature `tls`"), "{refused}");
        }
        Server::new("redis://localhost".parse().unwrap(), &Tls::default()).unwrap();
    }
}
