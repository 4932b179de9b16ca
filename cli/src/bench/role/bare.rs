//! The minimal cost of moving a stream: one connection, no processing, one transaction after another.

use anyhow::bail;
use redis_consumer_group::client::open_socket;
use redis_consumer_group::{Address, Error};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::answer::{Answer, Unread};
use super::commands::{command, push_bulk};
use super::protocol::{Endpoint, Event, GROUP, INPUT, Loaded, OUTPUT};
use super::tell;
use crate::bench::clock;
use crate::exit::{self, Coded};

/// Entries of one read and of one commit: as many as the group uses.
const ENTRIES: usize = 256;

/// Connects, creates the stream's group, waits for the order to begin, and moves the whole stream.
pub(super) async fn run(endpoint: Endpoint, begin: oneshot::Receiver<u64>) -> anyhow::Result<()> {
    let (address, tls) = endpoint.parse()?;
    let socket = open_socket(&address, &tls, "redis-consumer-group:bench").await?;
    let mut bare = Bare { socket, address, input: Vec::with_capacity(256 << 10) };
    bare.ask("XGROUP", &command(&[b"XGROUP", b"CREATE", INPUT.as_bytes(), GROUP.as_bytes(), b"0"]), made)
        .await?;
    tell(&Event::Ready);
    // An error means that the bench is gone.
    if begin.await.is_err() {
        return Ok(());
    }
    let cpu = clock::process_cpu();
    let first = clock::now();
    let last = bare.move_all().await?;
    let cpu = clock::process_cpu() - cpu;
    tell(&Event::Loaded(Loaded {
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

/// The entries of one read as one transaction, encoded while they are parsed.
struct Transaction {
    bytes: Vec<u8>,
    acknowledged: Vec<u8>,
    entries: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Bare<S> {
    /// Returns when the last append was confirmed.
    async fn move_all(&mut self) -> anyhow::Result<u64> {
        let count = ENTRIES.to_string();
        let read = command(&[
            b"XREADGROUP",
            b"GROUP",
            GROUP.as_bytes(),
            b"bare",
            b"COUNT",
            count.as_bytes(),
            b"STREAMS",
            INPUT.as_bytes(),
            b">",
        ]);
        let mut consumer = Vec::new();
        push_bulk(&mut consumer, b"consumer_id");
        push_bulk(&mut consumer, Uuid::new_v4().to_string().as_bytes());
        let mut last = clock::now();
        loop {
            let transaction = self.ask("XREADGROUP", &read, |answer| entries(answer, &consumer)).await?;
            if transaction.entries == 0 {
                return Ok(last);
            }
            let entries = transaction.entries;
            self.ask("EXEC", &transaction.finished(), |answer| committed(answer, entries)).await?;
            last = clock::now();
        }
    }

    /// Writes commands at once, and reads their replies.
    async fn ask<T>(
        &mut self,
        name: &str,
        commands: &[u8],
        read: impl Fn(&mut Answer<'_>) -> Result<T, Unread>,
    ) -> anyhow::Result<T> {
        self.socket.write_all(commands).await?;
        self.socket.flush().await?;
        self.input.clear();
        loop {
            if self.socket.read_buf(&mut self.input).await? == 0 {
                bail!("the server closed the connection; its log says why");
            }
            let mut answer = Answer::new(&self.input);
            match read(&mut answer) {
                Ok(value) if answer.is_over() => return Ok(value),
                Ok(_) => bail!(self.explained(name, &Unread::Unexpected)),
                Err(Unread::Incomplete) => {}
                Err(unread) => bail!(self.explained(name, &unread)),
            }
        }
    }

    fn explained(&self, name: &str, unread: &Unread) -> anyhow::Error {
        let address = self.address.to_string();
        match unread {
            Unread::Refused(answer) if answer.starts_with("NOPERM") => Error::Refused {
                address,
                what: name.to_owned(),
                answer: answer.clone(),
                try_next: "give the user the rules `+xgroup +xreadgroup +multi +xadd +xack +exec ~bench:*`"
                    .to_owned(),
            }
            .into(),
            unread => {
                let text = format!(
                    "Redis at {address} answered {name} with {:?}; fix that and try again",
                    unread.to_string()
                );
                Coded { code: exit::FAILED, text }.into()
            }
        }
    }
}

impl Transaction {
    fn new(entries: usize) -> Self {
        let (bytes, acknowledged) = (Vec::with_capacity(64 << 10), Vec::with_capacity(8 << 10));
        let mut transaction = Self { bytes, acknowledged, entries };
        if entries > 0 {
            transaction.bytes.extend_from_slice(b"*1\r\n$5\r\nMULTI\r\n");
            push_head(&mut transaction.acknowledged, 3 + entries);
            [&b"XACK"[..], INPUT.as_bytes(), GROUP.as_bytes()]
                .iter()
                .for_each(|text| push_bulk(&mut transaction.acknowledged, text));
        }
        transaction
    }

    /// Adds an entry: its encoded fields, and the consumer's.
    fn push(&mut self, id: &[u8], texts: usize, fields: &[u8], consumer: &[u8]) {
        push_head(&mut self.bytes, 3 + texts + 2);
        [&b"XADD"[..], OUTPUT.as_bytes(), b"*"].iter().for_each(|text| push_bulk(&mut self.bytes, text));
        self.bytes.extend_from_slice(fields);
        self.bytes.extend_from_slice(consumer);
        push_bulk(&mut self.acknowledged, id);
    }

    fn finished(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&self.acknowledged);
        self.bytes.extend_from_slice(b"*1\r\n$4\r\nEXEC\r\n");
        self.bytes
    }
}

fn push_head(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(format!("*{count}\r\n").as_bytes());
}

fn made(answer: &mut Answer<'_>) -> Result<(), Unread> {
    answer.simple("OK")
}

/// The reply to a read: nil, or one stream with its entries.
fn entries(answer: &mut Answer<'_>, consumer: &[u8]) -> Result<Transaction, Unread> {
    if answer.array()?.is_none() {
        return Ok(Transaction::new(0));
    }
    answer.array()?;
    answer.bulk()?;
    let count = answer.array()?.ok_or(Unread::Unexpected)?;
    let mut transaction = Transaction::new(count);
    for _ in 0..count {
        answer.array()?;
        let id = answer.bulk()?;
        let texts = answer.array()?.ok_or(Unread::Unexpected)?;
        let begin = answer.position();
        for _ in 0..texts {
            answer.bulk()?;
        }
        transaction.push(id, texts, answer.since(begin), consumer);
    }
    Ok(transaction)
}

/// The reply to a transaction in which every command must have succeeded.
fn committed(answer: &mut Answer<'_>, entries: usize) -> Result<(), Unread> {
    answer.simple("OK")?;
    for _ in 0..=entries {
        answer.simple("QUEUED")?;
    }
    answer.array()?.ok_or(Unread::Unexpected)?;
    for _ in 0..entries {
        answer.bulk()?;
    }
    if answer.integer()? == entries as i64 { Ok(()) } else { Err(Unread::Unexpected) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entries_of_one_read_become_one_transaction() {
        let read =
            b"*1\r\n*2\r\n$15\r\nbench:published\r\n*1\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n";
        let transaction = entries(&mut Answer::new(read), b"$1\r\nc\r\n$1\r\nd\r\n").unwrap();
        let commands = [
            command(&[b"MULTI"]),
            command(&[b"XADD", OUTPUT.as_bytes(), b"*", b"a", b"b", b"c", b"d"]),
            command(&[b"XACK", INPUT.as_bytes(), GROUP.as_bytes(), b"1-0"]),
            command(&[b"EXEC"]),
        ];
        assert_eq!(
            String::from_utf8(transaction.finished()).unwrap(),
            String::from_utf8(commands.concat()).unwrap()
        );
        assert_eq!(entries(&mut Answer::new(b"*-1\r\n"), b"").unwrap().entries, 0);
    }

    #[test]
    fn a_transaction_that_acknowledged_too_few_entries_has_failed() {
        let answer = |acknowledged: u32| {
            format!("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n$3\r\n1-0\r\n:{acknowledged}\r\n").into_bytes()
        };
        assert_eq!(committed(&mut Answer::new(&answer(1)), 1), Ok(()));
        assert_eq!(committed(&mut Answer::new(&answer(0)), 1), Err(Unread::Unexpected));
    }
}
