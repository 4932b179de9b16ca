//! What is known about one option.

use super::settings::Settings;

/// One option: `--name`, the variable `RCG_NAME` and the key `name` of the file.
pub(crate) struct Opt {
    pub(crate) name: &'static str,
    pub(crate) short: Option<char>,
    pub(crate) kind: Kind,
    /// As it would be written. Empty where there is none.
    pub(crate) default: &'static str,
    pub(crate) help: &'static str,
    /// What `--help` adds to that.
    pub(crate) more: &'static str,
    /// A variable of another program that counts where ours is not set.
    pub(crate) fallback: Option<&'static str>,
    /// Reads the text of `fallback`, where that is written for other programs as well: what cannot be used of it
    /// is worth a warning only.
    pub(crate) foreign: Option<Set>,
    /// False for what must be known before the file is read.
    pub(crate) in_file: bool,
    /// Reads the text of a value. The error says what is wrong with it and what to write instead.
    pub(crate) set: Set,
}

/// Sets what the text of a value stands for, or says what is wrong with it.
pub(crate) type Set = fn(&mut Settings, &str) -> Result<(), String>;

/// What is written behind the flag.
pub(crate) enum Kind {
    /// A text, with its name in the help.
    Value(&'static str),
    /// The path of a file.
    File,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Nothing, or `=true` or `=false`.
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
