//! The minimal cost of moving a stream: one connection, no processing, one transaction after another.
//!
//! Replies are read line by line in place, without allocating: nothing that a bench writes has a line break.

use anyhow::bail;
use redis_consumer_group::Address;
use redis_consumer_group::client::open_socket;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::commands::{command, push_bulk};
use super::protocol::{Endpoint, Event, GROUP, INPUT, Loaded, OUTPUT};
use super::{refused, send};
use crate::clock;

/// Connects, creates the stream's group, waits for the order to begin, and moves the whole stream.
pub(super) async fn run(endpoint: Endpoint, begin: oneshot::Receiver<u64>) -> anyhow::Result<()> {
    let (address, tls) = endpoint.parse()?;
    let socket = open_socket(&address, &tls, "redis-consumer-group:bench").await?;
    let mut bare = Bare { socket, address, input: Vec::with_capacity(256 << 10) };
    let create = command(&[b"XGROUP", b"CREATE", INPUT.as_bytes(), GROUP.as_bytes(), b"0"]);
    bare.ask("XGROUP", &create, |reply| reply.skip(1).map(drop)).await?;
    send(&Event::Ready);
    // An error means that the bench is gone.
    if begin.await.is_err() {
        return Ok(());
    }
    let cpu = clock::process_cpu();
    let first = clock::now();
    let last = bare.move_all().await?;
    let cpu = clock::process_cpu() - cpu;
    send(&Event::Loaded(Loaded {
        first,
        written: last,
        answered: last,
        undelivered: 0,
        stalled: 0,
        cpu,
        late: None,
    }));
    Ok(())
}

struct Bare<S> {
    socket: S,
    address: Address,
    input: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Bare<S> {
    /// Returns when the last append was confirmed.
    async fn move_all(&mut self) -> anyhow::Result<u64> {
        /// As many as the group has in one commit.
        const ENTRIES: &[u8] = b"256";
        let (input, group) = (INPUT.as_bytes(), GROUP.as_bytes());
        let read = [&b"XREADGROUP"[..], b"GROUP", group, b"bare", b"COUNT", ENTRIES, b"STREAMS", input, b">"];
        let read = command(&read);
        let mut consumer = Vec::new();
        push_bulk(&mut consumer, b"consumer_id");
        push_bulk(&mut consumer, Uuid::new_v4().to_string().as_bytes());
        let mut last = clock::now();
        loop {
            let (commands, entries) =
                self.ask("XREADGROUP", &read, |reply| transaction(reply, &consumer)).await?;
            if entries == 0 {
                return Ok(last);
            }
            let acknowledged = self.ask("EXEC", &commands, |reply| acknowledged(reply, entries)).await?;
            if acknowledged != entries {
                bail!("only {acknowledged} of {entries} entries were acknowledged: run one bench at a time");
            }
            last = clock::now();
        }
    }

    /// Writes commands at once, and reads their replies.
    async fn ask<T>(
        &mut self,
        name: &str,
        commands: &[u8],
        read: impl Fn(&mut Reply<'_>) -> Result<T, Unread>,
    ) -> anyhow::Result<T> {
        const RULES: &str = "+xgroup +xreadgroup +multi +xadd +xack +exec ~bench:*";
        self.socket.write_all(commands).await?;
        self.socket.flush().await?;
        self.input.clear();
        loop {
            if self.socket.read_buf(&mut self.input).await? == 0 {
                bail!("the server closed the connection; its log says why");
            }
            match read(&mut Reply(&self.input)) {
                Ok(value) => return Ok(value),
                Err(Unread::Incomplete) => {}
                Err(Unread::Refused(answer)) => bail!(refused(&self.address, name, &answer, RULES)),
            }
        }
    }
}

/// The rest of a reply.
struct Reply<'a>(&'a [u8]);

/// Why a reply cannot be read.
#[derive(Debug, PartialEq, Eq)]
enum Unread {
    /// Its end has not arrived yet.
    Incomplete,
    /// An error, in the server's words.
    Refused(String),
}

impl<'a> Reply<'a> {
    /// The next lines, with their line breaks.
    fn skip(&mut self, lines: usize) -> Result<&'a [u8], Unread> {
        let all = self.0;
        for _ in 0..lines {
            let end = self.0.iter().position(|byte| *byte == b'\n').ok_or(Unread::Incomplete)?;
            if let [b'-', error @ ..] = &self.0[..end] {
                return Err(Unread::Refused(String::from_utf8_lossy(error).trim_end().to_owned()));
            }
            self.0 = &self.0[end + 1..];
        }
        Ok(&all[..all.len() - self.0.len()])
    }

    /// The number in the next line: an integer, or the length of an array. 0 for nil.
    fn number(&mut self) -> Result<usize, Unread> {
        let line = std::str::from_utf8(self.skip(1)?).unwrap_or_default();
        Ok(line.get(1..).and_then(|number| number.trim_end().parse().ok()).unwrap_or(0))
    }
}

/// The reply to a read as the transaction that moves its entries, encoded while they are read, and their number.
fn transaction(reply: &mut Reply<'_>, consumer: &[u8]) -> Result<(Vec<u8>, usize), Unread> {
    if reply.number()? == 0 {
        return Ok((Vec::new(), 0));
    }
    // The head of the only stream, and its name.
    reply.skip(3)?;
    let entries = reply.number()?;
    let mut commands = command(&[b"MULTI"]);
    let mut acknowledge = format!("*{}\r\n", 3 + entries).into_bytes();
    for text in ["XACK", INPUT, GROUP] {
        push_bulk(&mut acknowledge, text.as_bytes());
    }
    for _ in 0..entries {
        reply.skip(1)?;
        acknowledge.extend_from_slice(reply.skip(2)?);
        let texts = reply.number()?;
        commands.extend_from_slice(format!("*{}\r\n", 3 + texts + 2).as_bytes());
        for text in ["XADD", OUTPUT, "*"] {
            push_bulk(&mut commands, text.as_bytes());
        }
        commands.extend_from_slice(reply.skip(2 * texts)?);
        commands.extend_from_slice(consumer);
    }
    commands.extend_from_slice(&acknowledge);
    commands.extend_from_slice(&command(&[b"EXEC"]));
    Ok((commands, entries))
}

/// The number of acknowledged entries, in the reply to such a transaction.
fn acknowledged(reply: &mut Reply<'_>, entries: usize) -> Result<usize, Unread> {
    // OK, QUEUED for each command, the head of the array, and two lines for each id.
    reply.skip(1 + entries + 1 + 1 + 2 * entries)?;
    reply.number()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entries_of_one_read_become_one_transaction() {
        let read =
            b"*1\r\n*2\r\n$15\r\nbench:published\r\n*1\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n";
        let commands = [
            command(&[b"MULTI"]),
            command(&[b"XADD", OUTPUT.as_bytes(), b"*", b"a", b"b", b"c", b"d"]),
            command(&[b"XACK", INPUT.as_bytes(), GROUP.as_bytes(), b"1-0"]),
            command(&[b"EXEC"]),
        ];
        let consumer = b"$1\r\nc\r\n$1\r\nd\r\n";
        assert_eq!(transaction(&mut Reply(read), consumer), Ok((commands.concat(), 1)));
        for end in 0..read.len() {
            assert_eq!(transaction(&mut Reply(&read[..end]), consumer), Err(Unread::Incomplete), "{end}");
        }
        assert_eq!(transaction(&mut Reply(b"*-1\r\n"), b""), Ok((Vec::new(), 0)));
    }

    #[test]
    fn a_transaction_tells_how_many_entries_it_acknowledged_or_why_it_was_refused() {
        let committed = b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n$3\r\n1-0\r\n:1\r\n";
        assert_eq!(acknowledged(&mut Reply(committed), 1), Ok(1));
        let full = b"+OK\r\n-OOM no memory\r\n";
        assert_eq!(acknowledged(&mut Reply(full), 1), Err(Unread::Refused("OOM no memory".to_owned())));
    }
}
