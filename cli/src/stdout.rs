//! Lines on stdout, written so that a reader who is slow or gone never stops the program.

use std::io::{self, ErrorKind, Write};
use std::thread;

use tokio::sync::{mpsc, oneshot};
use tracing::warn;

/// Lines that wait for a slow reader. Reports beyond them are left out: nobody would read them in time.
const WAITING: usize = 64;

/// Where lines go. A thread of its own writes them, since a full pipe blocks whoever writes into it.
pub(crate) struct Stdout {
    lines: mpsc::Sender<String>,
    written: oneshot::Receiver<()>,
}

impl Stdout {
    pub(crate) fn new() -> Self {
        Self::to(io::stdout())
    }

    /// Hands over a line, unless too many wait already.
    pub(crate) fn line(&self, line: String) {
        let _ = self.lines.try_send(line);
    }

    /// Waits until the reader is gone.
    pub(crate) async fn closed(&self) {
        self.lines.closed().await;
    }

    /// Whether the reader is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.lines.is_closed()
    }

    /// Writes the last line, and waits for it and all before it.
    pub(crate) async fn finish(self, last: String) {
        // Both fail only when the reader is gone.
        let _ = self.lines.send(last).await;
        drop(self.lines);
        let _ = self.written.await;
    }

    fn to(writer: impl Write + Send + 'static) -> Self {
        let (lines, waiting) = mpsc::channel(WAITING);
        let (done, written) = oneshot::channel();
        // It ends with the sender, or with the process where it hangs in a pipe that nobody empties.
        thread::spawn(move || {
            write_all(writer, waiting);
            let _ = done.send(());
        });
        Self { lines, written }
    }
}

fn write_all(mut writer: impl Write, mut lines: mpsc::Receiver<String>) {
    while let Some(mut line) = lines.blocking_recv() {
        line.push('\n');
        match writer.write_all(line.as_bytes()).and_then(|()| writer.flush()) {
            Ok(()) => {}
            // Returning drops the receiver, which `Stdout::closed` sees.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return,
            // A full disk below a log file is no reason to stop processing messages.
            Err(error) => warn!("a line could not be written to stdout: {error}; check where stdout leads"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// Takes so many lines, then breaks with this error.
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
        /// Tells of each line that it has no room for.
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
            // The next one is tried only by a thread that went on after this error.
            refused.recv_timeout(std::time::Duration::from_secs(20)).expect(line);
        }
        assert!(!stdout.lines.is_closed());
        stdout.finish("ledger".to_owned()).await;
    }

    #[tokio::test]
    async fn a_reader_that_stops_reading_holds_nobody_up() {
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
