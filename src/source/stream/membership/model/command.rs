//! What may happen.

use std::fmt;

use proptest::collection::vec;
use proptest::prelude::*;

use super::wire::{Trouble, Which};

/// One life of a group.
#[derive(Debug, Clone)]
pub(super) struct Story {
    pub(super) processes: usize,
    pub(super) commands: Vec<Command>,
    /// Who takes over everything at the end.
    pub(super) survivor: usize,
}

/// Processes are counted around, so that any number names one.
#[derive(Debug, Clone)]
pub(super) enum Command {
    /// Appends entries to the input, unless there were enough.
    Append(usize),
    Read {
        who: usize,
        most: usize,
        conditions: Conditions,
    },
    /// Here and where it is too late: by the next process that holds something.
    Commit {
        who: usize,
        lane: usize,
        most: usize,
        conditions: Conditions,
    },
    /// In the middle of a commit its process is taken for dead, and everything taken over. It does not know, and goes
    /// on with the rest of what it holds. In part: when the commit was made and the answer is awaited.
    CommitTooLate {
        who: usize,
        by: usize,
        lane: usize,
        most: usize,
        after: usize,
        in_part: bool,
    },
    /// It stands still for longer than its lease; or somebody deletes the leases.
    Lapse {
        who: usize,
        unlisted: bool,
    },
    Renew {
        who: usize,
        conditions: Conditions,
    },
    BeginAnew {
        who: usize,
        conditions: Conditions,
    },
    /// Looks who is dead, without knowing whether it would be taken for dead itself.
    Sweep {
        who: usize,
        conditions: Conditions,
    },
    /// Takes over or buries, if it knows of somebody.
    TakeOver {
        who: usize,
        most: usize,
        conditions: Conditions,
    },
    /// All that it takes to take over.
    Claim {
        who: usize,
        most: usize,
    },
    /// Buries all that were ever there, if it is let.
    Forget {
        who: usize,
    },
    /// Tries to take over from one that nobody has looked at.
    Usurp {
        who: usize,
        from: usize,
        most: usize,
    },
    /// It is killed, and another one started.
    Crash {
        who: usize,
        lapsed: bool,
    },
    /// Removes what is acknowledged.
    Trim {
        who: usize,
    },
    /// The server sees all that is late.
    Deliver,
}

/// What happens to what a process writes, if anything.
#[derive(Clone, Copy)]
pub(super) struct Conditions {
    pub(super) strike: Option<(Which, Trouble)>,
    /// Whether the process is killed then.
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
    /// A command a line.
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
        Append, BeginAnew, Claim, Commit, CommitTooLate, Crash, Deliver, Forget, Lapse, Read, Renew, Sweep,
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
        1 => (who(), conditions(1)).prop_map(|(who, conditions)| BeginAnew { who, conditions }),
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

/// Bad in so many of ten times.
fn conditions(bad: u32) -> impl Strategy<Value = Conditions> {
    let trouble = prop_oneof![
        Just(Trouble::LostRequest),
        Just(Trouble::LostAnswer),
        proptest::option::of(1..4usize).prop_map(Trouble::Late),
    ];
    // Where nothing is committed, nothing happens to the commit.
    let which = prop_oneof![Just(Which::After(0)), (1..4usize).prop_map(Which::After), Just(Which::Commit)];
    let strike = (which, trouble);
    prop_oneof![
        10 - bad => Just(FAIR),
        bad => (strike, any::<bool>()).prop_map(|(strike, deadly)| Conditions { strike: Some(strike), deadly }),
    ]
}
