//! Sends one command over the private Unix socket and reads the answer.

use std::{io, path::Path, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    time::timeout,
};

/// How long a server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Sends a command, written as in a terminal, and returns the answer as text. `password` is the default user's.
///
/// # Errors
///
/// The server does not answer, or it refuses; then the error contains its answer.
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

/// Returns a list with one element per line.
async fn answer(stream: &mut BufReader<UnixStream>) -> io::Result<String> {
    let first = element(stream).await?;
    let Some(length) = first.strip_prefix('*') else { return Ok(first) };
    let mut elements = Vec::new();
    for _ in 0..length.parse::<usize>().map_err(io::Error::other)? {
        elements.push(element(stream).await?);
    }
    Ok(elements.join("\n"))
}

/// A value as text. For a list, the number of elements that follow: `*3`.
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
