//! The description of one option.

use super::settings::Settings;

/// One option: `--name`, the variable `RCG_NAME` and the key `name` of the file.
#[derive(Clone, Copy)]
pub(crate) struct Opt {
    pub(crate) name: &'static str,
    pub(crate) short: Option<char>,
    pub(crate) kind: Kind,
    /// As a user would write it. Empty if there is none.
    pub(crate) default: &'static str,
    pub(crate) help: &'static str,
    /// What `--help` adds to `help`.
    pub(crate) more: &'static str,
    /// A variable of other programs, used if ours is not set.
    pub(crate) fallback: Option<&'static str>,
    /// Reads the text of `fallback` if other programs use that variable too: an invalid text is then only a warning.
    pub(crate) foreign: Option<Set>,
    /// False for an option that must be known before the file is read.
    pub(crate) in_file: bool,
    /// Sets the value that a text stands for. The error says what is wrong and what to write instead.
    pub(crate) set: Set,
}

/// Sets the value that a text stands for, or says what is wrong with it.
pub(crate) type Set = fn(&mut Settings, &str) -> Result<(), String>;

/// The kind of value after the flag.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// A text, with its name in the help.
    Value(&'static str),
    /// The path of a file.
    File,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// No value, or `=true` or `=false`.
    Switch,
}

/// Options that belong together, under one heading of the help.
pub(crate) struct Group {
    pub(crate) heading: &'static str,
    pub(crate) options: &'static [Opt],
}

impl Opt {
    pub(crate) const fn new(
        name: &'static str,
        kind: Kind,
        default: &'static str,
        help: &'static str,
        set: Set,
    ) -> Self {
        Self {
            name,
            short: None,
            kind,
            default,
            help,
            more: "",
            fallback: None,
            foreign: None,
            in_file: true,
            set,
        }
    }

    pub(crate) const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    pub(crate) const fn more(mut self, more: &'static str) -> Self {
        self.more = more;
        self
    }

    pub(crate) const fn or_variable(mut self, name: &'static str) -> Self {
        self.fallback = Some(name);
        self
    }

    pub(crate) const fn or_foreign_variable(mut self, name: &'static str, set: Set) -> Self {
        self.fallback = Some(name);
        self.foreign = Some(set);
        self
    }

    pub(crate) const fn not_in_file(mut self) -> Self {
        self.in_file = false;
        self
    }

    /// The name of its variable.
    pub(crate) fn variable(&self) -> String {
        format!("RCG_{}", self.name.replace('-', "_").to_uppercase())
    }

    /// Sets the value that the text stands for.
    pub(crate) fn apply(&self, settings: &mut Settings, text: &str) -> Result<(), String> {
        if let Kind::Choice(words) = self.kind
            && !words.contains(&text)
        {
            return Err(format!("{text:?} is not one of {}", words.join(", ")));
        }
        (self.set)(settings, text)
    }
}
