//! A connection that writes at full speed while it reads the replies.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::replies::Replies;
use crate::clock;

/// Writes and reads in one task, so that full buffers on both sides cannot deadlock.
pub(crate) struct Wire<S> {
    socket: S,
    replies: Replies,
    input: Vec<u8>,
    sent: u64,
    stalled: u64,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn new(socket: S) -> Self {
        Self { socket, replies: Replies::default(), input: vec![0; 64 << 10], sent: 0, stalled: 0 }
    }

    pub(crate) fn replies(&self) -> &Replies {
        &self.replies
    }

    /// ns for which the socket was full.
    pub(crate) fn stalled(&self) -> u64 {
        self.stalled
    }

    /// Writes this number of commands. Returns when the socket has taken the last byte.
    ///
    /// # Errors
    /// If the connection breaks.
    pub(crate) async fn send(&mut self, commands: u64, mut bytes: &[u8]) -> io::Result<()> {
        self.sent += commands;
        let mut stalled_since = None;
        poll_fn(|context| {
            self.read_available(context)?;
            while !bytes.is_empty() {
                match Pin::new(&mut self.socket).poll_write(context, bytes)? {
                    Poll::Ready(0) => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                    Poll::Ready(written) => bytes = &bytes[written..],
                    Poll::Pending => {
                        stalled_since.get_or_insert_with(clock::now);
                        return Poll::Pending;
                    }
                }
            }
            Pin::new(&mut self.socket).poll_flush(context)
        })
        .await?;
        self.stalled += stalled_since.map_or(0, |since| clock::now() - since);
        Ok(())
    }

    /// Waits until at most this many commands are without a reply.
    ///
    /// # Errors
    /// If the connection breaks.
    pub(crate) async fn settle(&mut self, unanswered: u64) -> io::Result<()> {
        poll_fn(|context| {
            self.read_available(context)?;
            if self.sent - self.replies.count() <= unanswered { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    /// Reads what has arrived, and registers to be woken for more.
    fn read_available(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while let Poll::Ready(read) = self.poll_read(context) {
            let read = read?;
            self.replies.read(&self.input[..read]);
        }
        Ok(())
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(&mut self.input);
        ready!(Pin::new(&mut self.socket).poll_read(context, &mut buffer))?;
        let read = buffer.filled().len();
        Poll::Ready(if read == 0 {
            Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection"))
        } else {
            Ok(read)
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn neither_side_waits_for_the_other_with_full_buffers() {
        // Smaller than the data in flight in either direction.
        let (ours, mut theirs) = tokio::io::duplex(64);
        let server = tokio::spawn(async move {
            let mut byte = [0];
            for _ in 0..10_000 {
                theirs.read_exact(&mut byte).await.unwrap();
                theirs.write_all(b":1\r\n").await.unwrap();
            }
            theirs
        });
        let mut wire = Wire::new(ours);
        wire.send(10_000, &[b'x'; 10_000]).await.unwrap();
        wire.settle(0).await.unwrap();
        assert_eq!(wire.replies().count(), 10_000);
        drop(server.await.unwrap());
        assert!(wire.send(1, b"x").await.is_err());
    }
}
