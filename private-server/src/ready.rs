//! Checks whether the server answers.

use std::{io, path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

/// Asks once, through the socket in the private folder and not through the port: another server may have taken the
/// port first and would answer there. A server opens its socket after its ports, so an answer means that those are
/// open too.
pub(crate) async fn answers(socket: &Path) -> bool {
    const TIMEOUT: Duration = Duration::from_secs(1);
    matches!(timeout(TIMEOUT, ping(socket)).await, Ok(Ok(reply)) if is_up(&reply))
}

async fn ping(socket: &Path) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut reply = Vec::new();
    while !reply.contains(&b'\n') && stream.read_buf(&mut reply).await? > 0 {}
    Ok(reply)
}

/// A refusal (NOAUTH, NOPERM) is an answer as well. A server that still reads its data from disk is not up.
fn is_up(reply: &[u8]) -> bool {
    match reply.first() {
        Some(b'+') => true,
        Some(b'-') => !reply.starts_with(b"-LOADING"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_an_answer_and_loading_is_not() {
        assert!(is_up(b"+PONG\r\n"));
        assert!(is_up(b"-NOAUTH Authentication required.\r\n"));
        assert!(is_up(b"-NOPERM this user has no permissions\r\n"));
        assert!(!is_up(b"-LOADING Redis is loading the dataset in memory\r\n"));
        assert!(!is_up(b""));
    }
}
