//! Encodes a commit.

use crate::redis::resp::command;
use crate::sink::Records;
use crate::sink::target::Target;

/// An encoded commit.
#[derive(Default)]
pub(super) struct Wire {
    pub(super) bytes: Vec<u8>,
    /// Where the `EXEC` begins: nothing changes before it.
    pub(super) exec: usize,
    /// Where the commit ends.
    pub(super) end: usize,
}

impl Wire {
    /// Encodes the commit of this number into `bytes`, which is empty. `key`: the lane's hash.
    pub(super) fn of(target: &Target, records: &Records, key: &str, number: u64, mut bytes: Vec<u8>) -> Self {
        let (out, key) = (&mut bytes, key.as_bytes());
        command(out, &[b"MULTI"]);
        target.append(out, records);
        target.acknowledge(out, records);
        command(out, &[b"HSET", key, b"number", itoa::Buffer::new().format(number).as_bytes()]);
        let exec = out.len();
        command(out, &[b"EXEC"]);
        match records.held() {
            None => command(out, &[b"WATCH", key]),
            Some(epoch) => {
                command(out, &[b"WATCH", key, epoch.token.as_bytes()]);
                command(out, &[b"EXISTS", epoch.token.as_bytes()]);
            }
        }
        let end = out.len();
        Self { bytes, exec, end }
    }
}
