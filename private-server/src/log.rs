//! Reads the end of the server's output for errors.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

/// How many lines an error quotes.
const LINES: usize = 12;

/// How many bytes at the end of the file are searched for them.
const BYTES: u64 = 16 * 1024;

/// The file that takes the server's stdout and stderr. All starts append to it; only the output of the current
/// start is read.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    from: u64,
}

impl Log {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, from: 0 }
    }

    /// A handle for the child to write to. From now on, only output after this point is quoted.
    pub(crate) fn open(&mut self) -> io::Result<File> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)?;
        self.from = file.metadata()?.len();
        Ok(file)
    }

    /// Whether the server ended because another process has its port.
    pub(crate) fn says_port_is_taken(&self) -> bool {
        self.end().contains("Address already in use")
    }

    /// The last lines, indented, with each secret replaced by `***`.
    pub(crate) fn tail(&self, secrets: &[String]) -> String {
        let end = self.end();
        let lines: Vec<_> = end.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        if lines.is_empty() {
            return "  (empty)".to_owned();
        }
        let mut tail = lines[lines.len().saturating_sub(LINES)..]
            .iter()
            .map(|line| format!("  {line}"))
            .collect::<Vec<_>>()
            .join("\n");
        for secret in secrets {
            tail = tail.replace(secret, "***");
        }
        tail
    }

    /// Returns an empty text if the log cannot be read: that must not hide the error that the log would have explained.
    fn end(&self) -> String {
        self.read().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let mut file = File::open(&self.path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(self.from.max(length.saturating_sub(BYTES))))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_tail_begins_with_the_current_start_and_hides_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::new(folder.path().join("log"));
        log.open().unwrap().write_all(b"the first start: Address already in use\n").unwrap();
        assert!(log.says_port_is_taken());
        log.open().unwrap().write_all(b"\n>>> 'requirepass \"open sesame\"'\n").unwrap();
        assert!(!log.says_port_is_taken());
        assert_eq!(log.tail(&["open sesame".to_owned()]), "  >>> 'requirepass \"***\"'");
    }

    #[test]
    fn a_long_log_is_cut_to_its_last_lines() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::new(folder.path().join("log"));
        let mut file = log.open().unwrap();
        for line in 0..10_000 {
            writeln!(file, "line {line}").unwrap();
        }
        let tail = log.tail(&[]);
        assert_eq!(tail.lines().count(), LINES);
        assert!(tail.ends_with("  line 9999"));
    }
}
