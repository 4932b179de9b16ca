//! One command and its answer, over the private Unix socket.

use std::{io, path::Path, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    time::timeout,
};

/// How long a server that answers at all may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Sends a command that is written as in a terminal; its answer as a text. `password` is that of the default user.
///
/// # Errors
///
/// A server that does not answer, and one that refuses, with what it says.
pub(crate) async fn ask(socket: &Path, password: Option<&str>, command: &str) -> io::Result<String> {
    let asking = async {
        let mut stream = BufReader::new(UnixStream::connect(socket).await?);
        if let Some(password) = password {
            let login = format!("*2\r\n$4\r\nAUTH\r\n${}\r\n{password}\r\n", password.len());
            stream.write_all(login.as_bytes()).await?;
            answer(&mut stream).await?;
        }
        stream.write_all(format!("{command}\r\n").as_bytes()).await?;
        answer(&mut stream).await
    };
    timeout(TIMEOUT, asking).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A list is told one element a line.
async fn answer(stream: &mut BufReader<UnixStream>) -> io::Result<String> {
    let first = element(stream).await?;
    let Some(length) = first.strip_prefix('*') else { return Ok(first) };
    let mut elements = Vec::new();
    for _ in 0..length.parse::<usize>().map_err(io::Error::other)? {
        elements.push(element(stream).await?);
    }
    Ok(elements.join("\n"))
}

/// A value as a text; of a list, how many elements follow: `*3`.
async fn element(stream: &mut BufReader<UnixStream>) -> io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let line = line.trim_end();
    match line.split_at_checked(1) {
        Some(("+" | ":", text)) => Ok(text.to_owned()),
        Some(("*", _)) => Ok(line.to_owned()),
        Some(("-", refusal)) => Err(io::Error::other(refusal.to_owned())),
        Some(("$", length)) => {
            let length: usize = length.parse().map_err(io::Error::other)?;
            let mut text = vec![0; length + 2];
            stream.read_exact(&mut text).await?;
            text.truncate(length);
            String::from_utf8(text).map_err(io::Error::other)
        }
        _ => Err(io::Error::other(format!("an answer of another kind: {line:?}"))),
    }
}
