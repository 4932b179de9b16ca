//! The result of the demo as text.

use std::fmt;
use std::path::{Path, PathBuf};

use redis_consumer_group::Ledger;

use super::End;
use super::tally::Tally;

/// The result of the demo.
pub(super) struct Verdict {
    /// Counted from the output.
    pub(super) tally: Tally,
    pub(super) accounts: Accounts,
    /// The stream.
    pub(super) output: String,
    /// The server's program.
    pub(super) server: PathBuf,
    /// Its command line client.
    pub(super) client: &'static str,
}

/// The ledgers of the group or its processes.
pub(super) enum Accounts {
    /// One group in this process.
    OfGroup(Ledger),
    /// Processes that shared a stream.
    OfProcesses(Vec<Account>),
}

/// The ledger of one process.
pub(super) struct Account {
    pub(super) pid: u32,
    /// The ids of its consumers.
    pub(super) consumers: Vec<String>,
    /// Its last line. `None` if it was killed before it.
    pub(super) ledger: Option<String>,
}

impl Verdict {
    pub(super) fn end(self) -> End {
        let is_flawless = self.tally.is_flawless();
        End { verdict: self.to_string(), next_steps: self.next_steps(), is_flawless }
    }

    /// Commands for the same with a server of the user.
    fn next_steps(&self) -> String {
        let server = self.server.file_name().map_or("redis-server".into(), |name| name.to_string_lossy());
        // The path by which this program was started.
        let program = std::env::args().next().unwrap_or_else(|| "redis-consumer-group".to_owned());
        let program = Path::new(&program).display();
        let Self { output, client, .. } = self;
        let at = "--redis-addr localhost:6379";
        let (run, load) = match self.accounts {
            Accounts::OfGroup(_) => (format!("{program} {at} --consumers 4"), String::new()),
            Accounts::OfProcesses(_) => (
                format!("{program} {at} --source stream\n  {program} {at} --source stream"),
                " --to stream".into(),
            ),
        };
        format!(
            "
Everything that was started has ended. Next, run each of these in its own terminal:

  {server}
  {run}
  {program} load {at}{load} --rate 2000 --duration 10s
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
        let line = |f: &mut fmt::Formatter<'_>, (id, messages): &(String, u64)| {
            writeln!(f, "  Consumer {id}  {messages:>width$}")
        };
        match &self.accounts {
            Accounts::OfGroup(ledger) => {
                writeln!(f)?;
                consumers.iter().try_for_each(|consumer| line(f, consumer))?;
                write!(f, "\nThe group's own ledger: {ledger}")
            }
            Accounts::OfProcesses(accounts) => {
                for Account { pid, consumers: ids, ledger } in accounts {
                    let killed = if ledger.is_none() { ", killed" } else { "" };
                    writeln!(f, "\n  Process {pid}{killed}")?;
                    consumers.iter().filter(|(id, _)| ids.contains(id)).try_for_each(|one| line(f, one))?;
                }
                write!(f, "\nThe processes' own ledgers:\n")?;
                accounts.iter().try_for_each(|Account { pid, ledger, .. }| match ledger {
                    Some(ledger) => write!(f, "\n  Process {pid}: {ledger}"),
                    None => write!(f, "\n  Process {pid}: killed before it could report"),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_aligned() {
        let consumers = vec![("a".to_owned(), 999), ("b".to_owned(), 1)];
        let tally = Tally { published: 1001, processed: 1000, lost: 1, duplicated: 0, foreign: 0, consumers };
        let (output, server) = ("messages:processed".to_owned(), PathBuf::from("/usr/bin/valkey-server"));
        let accounts = Accounts::OfGroup(Ledger::default());
        let verdict = Verdict { tally, accounts, output, server, client: "valkey-cli" };
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

    #[test]
    fn consumers_are_listed_below_their_process() {
        let consumers = [("a", 5), ("b", 3), ("c", 2)].map(|(id, n)| (id.to_owned(), n)).to_vec();
        let tally = Tally { published: 10, processed: 10, lost: 0, duplicated: 0, foreign: 0, consumers };
        let account = |pid, ids: &[&str], ledger: Option<&str>| Account {
            pid,
            consumers: ids.iter().map(ToString::to_string).collect(),
            ledger: ledger.map(str::to_owned),
        };
        let accounts = Accounts::OfProcesses(vec![
            account(17, &["b"], None),
            account(23, &["a", "c"], Some("received 7")),
        ]);
        let (output, server) = ("messages:processed".to_owned(), PathBuf::from("/usr/bin/redis-server"));
        let verdict = Verdict { tally, accounts, output, server, client: "redis-cli" };
        let (_, shown) = verdict
            .to_string()
            .split_once("Duplicated   0\n")
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .unwrap();
        assert_eq!(
            shown,
            "
  Process 17, killed
  Consumer b   3

  Process 23
  Consumer a   5
  Consumer c   2

The processes' own ledgers:

  Process 17: killed before it could report
  Process 23: received 7"
        );
        assert!(verdict.next_steps().contains("load --redis-addr localhost:6379 --to stream --rate"));
    }
}
