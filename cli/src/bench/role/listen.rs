//! A subscriber that reads everything and ignores it.

use anyhow::bail;
use redis_consumer_group::Error;
use redis_consumer_group::client::open_socket;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::commands::command;
use super::protocol::{Endpoint, Event, INPUT};
use super::send;
use crate::clock;

/// Subscribes, and reads this number of bytes.
pub(super) async fn run(endpoint: Endpoint, bytes: u64) -> anyhow::Result<()> {
    let (address, tls) = endpoint.parse()?;
    let mut socket = open_socket(&address, &tls, "redis-consumer-group:bench").await?;
    socket.write_all(&command(&[b"SUBSCRIBE", INPUT.as_bytes()])).await?;
    let mut buffer = vec![0; 256 << 10];
    let confirmation = [command(&[b"subscribe", INPUT.as_bytes()]), b":1\r\n".to_vec()].concat();
    // An array of three elements, the last of which is an integer.
    let confirmation = [b"*3", &confirmation[2..]].concat();
    let confirmed = &mut buffer[..confirmation.len()];
    // An error may be shorter, but ends with a line break.
    let mut read = 0;
    while read < confirmed.len() && !(confirmed[0] == b'-' && confirmed[..read].ends_with(b"\n")) {
        match socket.read(&mut confirmed[read..]).await? {
            0 => bail!("the server closed the connection of a subscriber"),
            more => read += more,
        }
    }
    if *confirmed != confirmation {
        let answer =
            String::from_utf8_lossy(&confirmed[..read]).trim_start_matches('-').trim_end().to_owned();
        let try_next = "give the user the rule `+subscribe &bench:*`".to_owned();
        bail!(Error::Refused {
            address: address.to_string(),
            what: "SUBSCRIBE".to_owned(),
            answer,
            try_next
        });
    }
    send(&Event::Ready);
    let mut left = bytes;
    while left > 0 {
        match socket.read(&mut buffer).await {
            Ok(0) | Err(_) => bail!(
                "the server disconnected a subscriber that reads as fast as it can: raise the limit of \
                 client-output-buffer-limit pubsub, or use fewer --messages"
            ),
            Ok(read) => left = left.saturating_sub(read as u64),
        }
    }
    send(&Event::Received { at: clock::now() });
    Ok(())
}
