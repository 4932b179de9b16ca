//! The commands of a story.

use std::fmt;

use proptest::collection::vec;
use proptest::prelude::*;

use super::wire::{Trouble, Which};

/// The life of a group.
#[derive(Debug, Clone)]
pub(super) struct Story {
    pub(super) processes: usize,
    pub(super) commands: Vec<Command>,
    /// The process that takes over everything at the end.
    pub(super) survivor: usize,
}

/// Numbers of processes wrap around, so that any number names one.
#[derive(Debug, Clone)]
pub(super) enum Command {
    /// Appends entries to the input, up to the limit of a story.
    Append(usize),
    Read {
        who: usize,
        most: usize,
        conditions: Conditions,
    },
    /// Here and in `CommitTooLate`, `who` means the next process that holds something.
    Commit {
        who: usize,
        lane: usize,
        most: usize,
        conditions: Conditions,
    },
    /// During a commit, another process takes this one for dead, and takes over everything. This one does not know,
    /// and goes on with the other entries it holds. `in_part`: the commit was executed and its answer is awaited.
    CommitTooLate {
        who: usize,
        by: usize,
        lane: usize,
        most: usize,
        after: usize,
        in_part: bool,
    },
    /// Lets the lease lapse. `unlisted`: somebody deletes it instead.
    Lapse {
        who: usize,
        unlisted: bool,
    },
    Renew {
        who: usize,
        conditions: Conditions,
    },
    BeginNext {
        who: usize,
        conditions: Conditions,
    },
    /// Finds dead members, without checking whether it would count as dead itself.
    Sweep {
        who: usize,
        conditions: Conditions,
    },
    /// Takes over from a dead member or removes it, if it knows one.
    TakeOver {
        who: usize,
        most: usize,
        conditions: Conditions,
    },
    /// All steps of a takeover: renews, sweeps, and takes over.
    Claim {
        who: usize,
        most: usize,
    },
    /// Tries to remove every process that ever existed.
    Forget {
        who: usize,
    },
    /// Tries to take over from a process without checking whether it is dead.
    Usurp {
        who: usize,
        from: usize,
        most: usize,
    },
    /// Kills it, and starts another one.
    Crash {
        who: usize,
        lapsed: bool,
    },
    /// Removes acknowledged entries.
    Trim {
        who: usize,
    },
    /// Delivers all late requests to the server.
    Deliver,
}

/// The fault of a process's connections, if there is one.
#[derive(Clone, Copy)]
pub(super) struct Conditions {
    pub(super) strike: Option<(Which, Trouble)>,
    /// Whether the process is killed when it happens.
    pub(super) deadly: bool,
}

pub(super) const FAIR: Conditions = Conditions { strike: None, deadly: false };

impl fmt::Debug for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((which, trouble)) = self.strike else { return write!(f, "fair") };
        let deadly = if self.deadly { ", deadly" } else { "" };
        write!(f, "{trouble:?} {which:?}{deadly}")
    }
}

impl fmt::Display for Story {
    /// Prints one command per line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processes, commands, survivor } = self;
        writeln!(f, "{processes} processes")?;
        commands.iter().try_for_each(|command| writeln!(f, "    {command:?}"))?;
        write!(f, "{} takes over everything", survivor % processes)
    }
}

pub(super) fn story() -> impl Strategy<Value = Story> {
    let parts = (2..=3usize, vec(command(), 1..=25), who());
    parts.prop_map(|(processes, commands, survivor)| Story { processes, commands, survivor })
}

fn command() -> impl Strategy<Value = Command> {
    use Command::{
        Append, BeginNext, Claim, Commit, CommitTooLate, Crash, Deliver, Forget, Lapse, Read, Renew, Sweep,
        TakeOver, Trim, Usurp,
    };
    prop_oneof![
        4 => (1..=3usize).prop_map(Append),
        5 => (who(), most(), conditions(4)).prop_map(|(who, most, conditions)| Read { who, most, conditions }),
        5 => (who(), lane(), most(), conditions(6))
            .prop_map(|(who, lane, most, conditions)| Commit { who, lane, most, conditions }),
        3 => (who(), who(), lane(), most(), 0..4usize, any::<bool>()).prop_map(
            |(who, by, lane, most, after, in_part)| CommitTooLate { who, by, lane, most, after, in_part }
        ),
        3 => (who(), any::<bool>()).prop_map(|(who, unlisted)| Lapse { who, unlisted }),
        1 => (who(), conditions(2)).prop_map(|(who, conditions)| Renew { who, conditions }),
        1 => (who(), conditions(1)).prop_map(|(who, conditions)| BeginNext { who, conditions }),
        1 => (who(), conditions(2)).prop_map(|(who, conditions)| Sweep { who, conditions }),
        1 => (who(), most(), conditions(2)).prop_map(|(who, most, conditions)| TakeOver { who, most, conditions }),
        4 => (who(), most()).prop_map(|(who, most)| Claim { who, most }),
        1 => who().prop_map(|who| Forget { who }),
        1 => (who(), who(), most()).prop_map(|(who, from, most)| Usurp { who, from, most }),
        1 => (who(), any::<bool>()).prop_map(|(who, lapsed)| Crash { who, lapsed }),
        1 => who().prop_map(|who| Trim { who }),
        2 => Just(Deliver),
    ]
}

fn who() -> impl Strategy<Value = usize> {
    0..3usize
}

fn lane() -> impl Strategy<Value = usize> {
    0..2usize
}

fn most() -> impl Strategy<Value = usize> {
    1..=4usize
}

/// Faulty in `bad` of 10 cases.
fn conditions(bad: u32) -> impl Strategy<Value = Conditions> {
    let trouble = prop_oneof![
        Just(Trouble::LostRequest),
        Just(Trouble::LostAnswer),
        proptest::option::of(1..4usize).prop_map(Trouble::Late),
    ];
    // `Which::Commit` has no effect on a command that does not commit.
    let which = prop_oneof![Just(Which::After(0)), (1..4usize).prop_map(Which::After), Just(Which::Commit)];
    let strike = (which, trouble);
    prop_oneof![
        10 - bad => Just(FAIR),
        bad => (strike, any::<bool>()).prop_map(|(strike, deadly)| Conditions { strike: Some(strike), deadly }),
    ]
}
