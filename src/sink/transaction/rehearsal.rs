//! Checks the permissions for a commit before the first one.

use super::Transaction;
use crate::redis::fault::Fault;
use crate::redis::resp::command;
use crate::sink::target::Target;

impl Transaction {
    /// Lets the server check the commands of a commit without executing them (`MULTI` … `DISCARD`).
    pub(in crate::sink) async fn rehearse(&mut self, target: &Target) -> Result<(), Fault> {
        let mut connection = self.connect(target).await?.connection;
        let (server, key) = (&target.server, self.key.as_bytes());
        let mut out = Vec::new();
        command(&mut out, &[b"MULTI"]);
        target.append_to_check(&mut out);
        let acknowledging = target.acknowledge_to_check(&mut out);
        command(&mut out, &[b"HSET", key, b"number", b"0"]);
        command(&mut out, &[b"UNLINK", key]);
        command(&mut out, &[b"DISCARD"]);
        // `DISCARD` ends the watch, and the first commit needs it too.
        command(&mut out, &[b"WATCH", key]);
        connection.send(&out).await?;
        connection.expect(server, "MULTI", "+multi +exec +discard").await?;
        let appended = target.expect_checked(&mut connection, "XADD", &target.stream).await;
        let mut acknowledged = Ok(());
        for name in acknowledging {
            acknowledged =
                acknowledged.and(target.expect_checked(&mut connection, name, target.input()).await);
        }
        let stored = target.expect_checked(&mut connection, "HSET", &self.key).await;
        let removed = target.expect_checked(&mut connection, "UNLINK", &self.key).await;
        connection.expect(server, "DISCARD", "+discard").await?;
        connection.expect(server, "WATCH", "+watch").await?;
        appended.and(acknowledged).and(stored).and(removed)?;
        self.connection = Some(connection);
        Ok(())
    }
}
