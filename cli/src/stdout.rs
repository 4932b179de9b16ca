//! Lines on stdout, written so that a slow or closed reader never blocks the program.

use std::io::{self, ErrorKind, Write};
use std::thread;

use anyhow::Context;
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

/// The maximum number of lines that wait for a slow reader. Further reports are discarded.
const WAITING: usize = 64;

/// The reader has closed stdout, as `head` does after its lines. The program then ends without an error.
#[derive(Debug, thiserror::Error)]
#[error("stdout was closed")]
pub(crate) struct Closed;

/// Writes a text to stdout at once. May block.
///
/// # Errors
/// [`Closed`], or what the system refuses.
pub(crate) fn print(text: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Closed.into()),
        written => written.context("cannot write to stdout"),
    }
}

/// Writes lines to stdout on a separate thread, because a full pipe blocks its writer.
pub(crate) struct Stdout {
    lines: mpsc::Sender<String>,
    written: oneshot::Receiver<()>,
}

impl Stdout {
    pub(crate) fn new() -> Self {
        Self::to(io::stdout())
    }

    /// Queues a line, or discards it if too many wait.
    pub(crate) fn line(&self, line: String) {
        let _ = self.lines.try_send(line);
    }

    /// Waits until the reader has closed stdout.
    pub(crate) async fn closed(&self) {
        self.lines.closed().await;
    }

    /// Writes the last line and waits until all lines are written.
    pub(crate) async fn finish(self, last: String) {
        // Both fail only if the reader has closed stdout.
        let _ = self.lines.send(last).await;
        drop(self.lines);
        let _ = self.written.await;
    }

    fn to(writer: impl Write + Send + 'static) -> Self {
        let (lines, waiting) = mpsc::channel(WAITING);
        let (done, written) = oneshot::channel();
        // The thread ends with the sender, or with the process if it is blocked on a full pipe.
        thread::spawn(move || {
            write_all(writer, waiting);
            let _ = done.send(());
        });
        Self { lines, written }
    }
}

fn write_all(mut writer: impl Write, mut lines: mpsc::Receiver<String>) {
    // Lines that could not be written in a row. Only the first one is logged.
    let mut lost = 0;
    while let Some(mut line) = lines.blocking_recv() {
        line.push('\n');
        match writer.write_all(line.as_bytes()).and_then(|()| writer.flush()) {
            Ok(()) if lost > 0 => {
                info!("writing to stdout again; lines lost: {lost}");
                lost = 0;
            }
            Ok(()) => {}
            // Returning drops the receiver, which `Stdout::closed` sees.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return,
            // Stdout may be a file on a full disk. Messages are still processed.
            Err(error) => {
                if lost == 0 {
                    warn!("cannot write to stdout: {error}; going on without reports until it works again");
                }
                lost += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// Accepts this many lines, then fails with this error.
    struct Reader {
        taken: Arc<Mutex<Vec<u8>>>,
        lines: usize,
        error: ErrorKind,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.lines == 0 {
                return Err(self.error.into());
            }
            self.lines -= 1;
            self.taken.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn stdout(lines: usize, error: ErrorKind) -> (Stdout, Arc<Mutex<Vec<u8>>>) {
        let taken = Arc::default();
        (Stdout::to(Reader { taken: Arc::clone(&taken), lines, error }), taken)
    }

    #[tokio::test]
    async fn the_last_line_comes_last() {
        let (stdout, taken) = stdout(2, ErrorKind::Other);
        stdout.line("report".to_owned());
        stdout.finish("ledger".to_owned()).await;
        assert_eq!(*taken.lock().unwrap(), b"report\nledger\n");
    }

    #[tokio::test]
    async fn a_reader_that_is_gone_is_noticed() {
        let (stdout, taken) = stdout(1, ErrorKind::BrokenPipe);
        stdout.line("one".to_owned());
        stdout.line("two".to_owned());
        stdout.closed().await;
        stdout.finish("ledger".to_owned()).await;
        assert_eq!(*taken.lock().unwrap(), b"one\n");
    }

    #[tokio::test]
    async fn a_full_disk_does_not_end_the_program() {
        /// Sends a message for each line that it refuses.
        struct Full(std::sync::mpsc::Sender<()>);
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                self.0.send(()).unwrap();
                Err(ErrorKind::StorageFull.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (tell, refused) = std::sync::mpsc::channel();
        let stdout = Stdout::to(Full(tell));
        for line in ["lost", "lost, too", "and still tried"] {
            stdout.line(line.to_owned());
            // Only a thread that went on after this error tries the next line.
            refused.recv_timeout(std::time::Duration::from_secs(20)).expect(line);
        }
        assert!(!stdout.lines.is_closed());
        stdout.finish("ledger".to_owned()).await;
    }

    #[test]
    fn a_full_disk_is_logged_when_it_begins_and_when_it_ends() {
        /// Refuses this many lines.
        struct Full(u32);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                if self.0 == 0 {
                    return Ok(bytes.len());
                }
                self.0 -= 1;
                Err(ErrorKind::StorageFull.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        struct Log(Arc<Mutex<Vec<u8>>>);
        impl Write for Log {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let logged = Arc::default();
        let log = Arc::clone(&logged);
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || Log(Arc::clone(&log))).finish();
        let (lines, waiting) = mpsc::channel(WAITING);
        for _ in 0..5 {
            lines.try_send("report".to_owned()).unwrap();
        }
        drop(lines);
        tracing::subscriber::with_default(subscriber, || write_all(Full(3), waiting));
        let logged = String::from_utf8(logged.lock().unwrap().clone()).unwrap();
        assert_eq!(logged.lines().count(), 2, "{logged}");
        assert!(logged.contains("cannot write to stdout: ") && logged.contains("lines lost: 3"), "{logged}");
    }

    #[tokio::test]
    async fn a_reader_that_stops_reading_delays_no_one() {
        struct Stuck(std::sync::mpsc::Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _ = self.0.recv();
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (read, stuck) = std::sync::mpsc::channel();
        let stdout = Stdout::to(Stuck(stuck));
        for _ in 0..10 * WAITING {
            stdout.line("report".to_owned());
        }
        let limit = std::time::Duration::from_millis(50);
        assert!(tokio::time::timeout(limit, stdout.finish("ledger".to_owned())).await.is_err());
        drop(read);
    }
}
