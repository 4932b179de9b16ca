//! The end of the demo, as text.

use std::fmt;
use std::path::{Path, PathBuf};

use redis_consumer_group::Ledger;

use super::tally::Tally;

/// What came of the demo.
pub(super) struct Verdict {
    /// Counted from the stream.
    pub(super) tally: Tally,
    /// What the group says itself.
    pub(super) ledger: Ledger,
    /// The stream.
    pub(super) output: String,
    /// The server that was run.
    pub(super) server: PathBuf,
}

impl Verdict {
    /// What to type to do the same with a server of one's own.
    pub(super) fn next_steps(&self) -> String {
        let server = self.server.file_name().map_or("redis-server".into(), |name| name.to_string_lossy());
        let client = if server.contains("valkey") { "valkey-cli" } else { "redis-cli" };
        // As it was called, so that it can be called again.
        let program = std::env::args().next().unwrap_or_else(|| "redis-consumer-group".to_owned());
        let program = Path::new(&program).display();
        let Self { output, .. } = self;
        format!(
            "
Everything that was started is gone. Next, each in a terminal of its own:

  {server}
  {program} --redis-addr localhost:6379 --consumers 4
  {program} publish --redis-addr localhost:6379 --rate 2000 --duration 10s
  {client} XRANGE {output} - + COUNT 3"
        )
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { published, processed, lost, duplicated, foreign, consumers } = &self.tally;
        let width = published.max(processed).to_string().len();
        writeln!(f, "\nCounted from the stream {}:\n", self.output)?;
        writeln!(f, "  Published   {published:>width$}")?;
        writeln!(f, "  Processed   {processed:>width$}")?;
        writeln!(f, "  Lost        {lost:>width$}")?;
        writeln!(f, "  Duplicated  {duplicated:>width$}")?;
        if *foreign > 0 {
            writeln!(f, "  Foreign     {foreign:>width$}")?;
        }
        writeln!(f)?;
        for (id, messages) in consumers {
            writeln!(f, "  Consumer {id}  {messages:>width$}")?;
        }
        write!(f, "\nThe group's own ledger: {}", self.ledger)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_stand_below_each_other() {
        let consumers = vec![("a".to_owned(), 999), ("b".to_owned(), 1)];
        let tally = Tally { published: 1001, processed: 1000, lost: 1, duplicated: 0, foreign: 0, consumers };
        let (output, server) = ("messages:processed".to_owned(), PathBuf::from("/usr/bin/valkey-server"));
        let verdict = Verdict { tally, ledger: Ledger::default(), output, server };
        assert_eq!(
            verdict.to_string(),
            "
Counted from the stream messages:processed:

  Published   1001
  Processed   1000
  Lost           1
  Duplicated     0

  Consumer a   999
  Consumer b     1

The group's own ledger: received 0 = processed 0 + rejected 0 + dropped 0; no gaps"
        );
        assert!(verdict.next_steps().contains("valkey-cli XRANGE messages:processed - + COUNT 3"));
    }
}
