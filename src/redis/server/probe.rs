//! Finds out whether a server that does not answer speaks TLS where the address says it does not, or the reverse.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::{Server, tcp};
use crate::address::Endpoint;
use crate::error::Error;

/// A server that speaks the protocol of the address has usually answered by then.
const AFTER: Duration = Duration::from_millis(300);
/// How long the probe waits for an answer. Each protocol answers the other one at once, or not at all.
const ANSWER: Duration = Duration::from_secs(1);

/// A TLS handshake record with a broken greeting: a TLS server answers it with an alert. It has no line end, so Redis
/// without TLS waits for more.
const GREETING: &[u8] = &[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0];
/// The types of TLS records that a server may begin with: an alert, or its part of a handshake.
const TLS_RECORDS: [u8; 2] = [0x15, 0x16];

impl Server {
    /// Returns if the server speaks the other protocol, and otherwise never. Asks once, after a delay.
    pub(crate) async fn speaks_otherwise(&self) -> Error {
        sleep(AFTER).await;
        let problem = match self.address().endpoint() {
            Endpoint::Tls { host, port }
                if first_byte(host, *port, b"PING\r\n").await.is_some_and(is_redis) =>
            {
                "answers without TLS; begin the URL with redis:// instead of rediss://"
            }
            Endpoint::Tcp { host, port }
                if first_byte(host, *port, GREETING)
                    .await
                    .is_some_and(|byte| TLS_RECORDS.contains(&byte)) =>
            {
                "answers with TLS only; begin the URL with rediss:// instead of redis://"
            }
            _ => return std::future::pending().await,
        };
        Error::Config { option: "url", problem: format!("the server at {} {problem}", self.address()) }
    }
}

/// A reply begins with its type: `+PONG`, or `-NOAUTH` and other errors.
fn is_redis(byte: u8) -> bool {
    b"+-".contains(&byte)
}

/// Sends this on a new connection. Returns the first byte of the answer, if there is one.
async fn first_byte(host: &str, port: u16, greeting: &[u8]) -> Option<u8> {
    let answer = async {
        let mut socket = tcp(host, port).await?;
        socket.write_all(greeting).await?;
        socket.read_u8().await
    };
    timeout(ANSWER, answer).await.ok()?.ok()
}
