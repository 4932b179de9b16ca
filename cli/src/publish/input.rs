//! The input of `publish`: messages of the command line, or the lines of a file or of stdin.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use redis_consumer_group::Error;
use tokio::sync::mpsc;

use crate::publisher::Failure;

/// The messages to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input {
    /// These messages.
    Given(Vec<Vec<u8>>),
    /// Each line of a file.
    File(PathBuf),
    /// Each line of stdin.
    Stdin,
}

/// An input that is open, and not read yet.
pub(super) enum Opened {
    Given(Vec<Vec<u8>>),
    /// Lines, and the name of what they are read from.
    Lines(Box<dyn Read + Send>, String),
}

/// The messages as they are read. A batch has only lines that were available together: no line waits for a later one.
pub(super) struct Messages {
    batches: mpsc::Receiver<Batch>,
    reading: Arc<Reading>,
}

type Batch = Result<Vec<Vec<u8>>, Failure>;

/// The state that the thread that reads shares with the messages. All accesses are `SeqCst`: the thread says that it waits
/// and then looks for a stop, and the other side does the reverse, so at least one of them sees the other.
#[derive(Debug, Default)]
struct Reading {
    /// Whether the thread waits for input. Then it holds no line.
    waits: AtomicBool,
    is_stopped: AtomicBool,
}

/// The default limit of Redis (`proto-max-bulk-len`).
const LONGEST: usize = 512 << 20;
/// The limits of one batch: about this many bytes, and this many lines.
const BYTES: usize = 256 << 10;
const LINES: usize = 1000;

impl Input {
    /// The number of messages, if it is known in advance.
    pub(super) fn total(&self) -> Option<u64> {
        match self {
            Self::Given(messages) => Some(messages.len() as u64),
            Self::File(_) | Self::Stdin => None,
        }
    }

    /// Whether a user types the messages at a terminal.
    pub(super) fn is_typed(&self) -> bool {
        *self == Self::Stdin && io::stdin().is_terminal()
    }

    /// Opens the input.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub(super) fn open(self) -> Result<Opened, Error> {
        match self {
            Self::Given(messages) => Ok(Opened::Given(messages)),
            Self::File(path) => match File::open(&path) {
                Ok(file) => Ok(Opened::Lines(Box::new(file), path.display().to_string())),
                Err(source) => Err(Error::File { option: "file", path, source }),
            },
            Self::Stdin => Ok(Opened::Lines(Box::new(io::stdin()), "stdin".to_owned())),
        }
    }
}

impl Opened {
    /// Starts to read. A separate thread reads, because reading blocks. It ends with the input, after the messages are
    /// stopped or dropped, or with the process.
    pub(super) fn read(self) -> Messages {
        let reading = Arc::<Reading>::default();
        let batches = match self {
            Self::Given(messages) => {
                let (sender, batches) = mpsc::channel(1);
                let _ = sender.try_send(Ok(messages));
                batches
            }
            Self::Lines(input, name) => {
                let (sender, batches) = mpsc::channel(2);
                let input = Watched { input, reading: reading.clone() };
                thread::spawn(move || {
                    if let Err(failure) =
                        read(BufReader::with_capacity(BYTES, input), LONGEST, &name, &sender)
                    {
                        let _ = sender.blocking_send(Err(failure));
                    }
                });
                batches
            }
        };
        Messages { batches, reading }
    }
}

impl Messages {
    /// The next messages, or `None` at the end. Cancel safe.
    ///
    /// # Errors
    /// If the input cannot be read.
    pub(super) async fn next(&mut self) -> Option<Batch> {
        self.batches.recv().await
    }

    /// Reads no more. From now on, [`Messages::next`] returns the lines that were read, and then `None`: it does not wait
    /// for input.
    pub(super) fn stop(&mut self) {
        self.reading.is_stopped.store(true, Ordering::SeqCst);
        if self.reading.waits.load(Ordering::SeqCst) {
            // Nothing is sent any more.
            self.batches.close();
        }
    }
}

/// An input that ends at a stop.
struct Watched<R> {
    input: R,
    reading: Arc<Reading>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reading.waits.store(true, Ordering::SeqCst);
        let read = match self.reading.is_stopped.load(Ordering::SeqCst) {
            true => Ok(0),
            false => self.input.read(buffer),
        };
        self.reading.waits.store(false, Ordering::SeqCst);
        if self.reading.is_stopped.load(Ordering::SeqCst) {
            // What arrives after the stop is left out, and so is the line before it that has no end yet.
            return Err(io::Error::other(Stopped));
        }
        read
    }
}

/// Why reading ended at a stop.
#[derive(Debug, thiserror::Error)]
#[error("stopped")]
struct Stopped;

fn read(
    mut input: BufReader<impl Read>,
    longest: usize,
    name: &str,
    sender: &mpsc::Sender<Batch>,
) -> Result<(), Failure> {
    let (mut lines, mut bytes) = (Vec::new(), 0);
    for number in 1_u64.. {
        let line = read_line(&mut input, longest);
        if line.as_ref().is_err_and(is_stop) {
            // All lines before it were sent: it would not have looked for more input otherwise.
            return Ok(());
        }
        let line = line.map_err(|error| {
            Failure::Input(format!(
                "cannot read line {number} of {name}: {error}; the lines before it are published"
            ))
        });
        // The lines before one that cannot be read are still published.
        let is_last = !matches!(line, Ok(Some(_)));
        let ended = line.map(|line| {
            bytes += line.as_ref().map_or(0, Vec::len);
            lines.extend(line);
        });
        let is_enough = bytes >= BYTES || lines.len() >= LINES || !input.buffer().contains(&b'\n');
        if is_last || is_enough {
            bytes = 0;
            let is_gone = sender.blocking_send(Ok(mem::take(&mut lines))).is_err();
            if is_last || is_gone {
                return ended;
            }
        }
    }
    Ok(())
}

fn is_stop(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|source| source.is::<Stopped>())
}

/// The next line, without its line feed. `None` at the end.
fn read_line(input: &mut impl BufRead, longest: usize) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    // One byte more than the limit: the line feed, or the sign that the line is too long.
    let read = input.take(longest as u64 + 1).read_until(b'\n', &mut line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if read > longest {
        let problem = format!("it is longer than {longest} bytes, the most that Redis accepts");
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    } else if read == 0 {
        return Ok(None);
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines, and why they ended early.
    fn lines(input: &'static [u8], longest: usize) -> (Vec<Vec<u8>>, Option<String>) {
        let (sender, mut receiver) = mpsc::channel(100);
        let outcome = read(BufReader::with_capacity(4, input), longest, "stdin", &sender);
        drop(sender);
        let mut lines = Vec::new();
        while let Ok(batch) = receiver.try_recv() {
            lines.extend(batch.unwrap());
        }
        (lines, outcome.err().map(|failure| failure.to_string()))
    }

    #[test]
    fn a_message_is_all_bytes_up_to_the_line_feed() {
        let (read, error) = lines(b"one\n\n\xff\0\r\nlonger than the buffer\nlast", 100);
        assert_eq!(read, [&b"one"[..], b"", b"\xff\0\r", b"longer than the buffer", b"last"]);
        assert_eq!(error, None);
        assert_eq!(lines(b"", 100).0.len(), 0);
        assert_eq!(lines(b"\n", 100).0, [b""]);
    }

    #[test]
    fn a_line_that_is_too_long_is_named_and_those_before_it_are_there() {
        assert_eq!(lines(b"12345\n12345", 5), (vec![b"12345".to_vec(), b"12345".to_vec()], None));
        let (read, error) = lines(b"first\n123456\nlast\n", 5);
        assert_eq!(read, [b"first"]);
        let error = error.unwrap();
        assert!(error.contains("line 2 of stdin: it is longer than 5 bytes"), "{error}");
    }
}
