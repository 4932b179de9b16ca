//! The options as flags of the command line.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use clap::builder::PossibleValuesParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, ValueHint};
use redis_consumer_group::Config;

use super::layers::Layers;
use super::option::{Group, Kind, Opt};
use super::settings::Settings;
use super::variables::Variables;
use crate::talk;

/// Which options a subcommand has.
pub(crate) trait Selection {
    const GROUPS: &'static [Group];
    /// The common options, in the order in which the help lists them first. `-h` shows only these.
    const COMMON: &'static [&'static str];
    /// Their heading in the help. With `None` they are listed among the subcommand's own options.
    const HEADING: Option<&'static str> = None;
}

/// The flags of a selection of options. They stay texts until [`Layers`] has applied variables and the file.
#[derive(Debug, Clone)]
pub(crate) struct Flags<S> {
    texts: BTreeMap<&'static str, String>,
    selection: PhantomData<S>,
}

impl<S: Selection> Flags<S> {
    /// The flags, with the variables of this process and the file.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub(crate) fn layers(&self) -> anyhow::Result<Layers> {
        Layers::new(self.texts.clone(), Variables::of_process())
    }

    /// The values of the options.
    ///
    /// # Errors
    /// When one cannot be used, with its origin.
    pub(crate) fn settings(&self) -> anyhow::Result<Settings> {
        Settings::read(&self.layers()?, S::GROUPS)
    }

    /// The configuration, for a subcommand without a log: its warnings are printed.
    ///
    /// # Errors
    /// As [`Flags::settings`].
    pub(crate) fn config(&self) -> anyhow::Result<Config> {
        let layers = self.layers()?;
        talk::warn(&layers.warnings());
        Ok(Settings::read(&layers, S::GROUPS)?.config)
    }
}

impl<S: Selection> Args for Flags<S> {
    fn augment_args(mut command: Command) -> Command {
        let common = S::COMMON.iter().filter_map(|name| options::<S>().find(|option| option.name == *name));
        command = command.next_help_heading(S::HEADING).args(common.map(arg));
        for group in S::GROUPS {
            let rest = group.options.iter().filter(|option| !S::COMMON.contains(&option.name));
            let args = rest.map(|option| arg(option).hide_short_help(true));
            command = command.next_help_heading(group.heading).args(args);
        }
        // The options that follow are the subcommand's own.
        command.next_help_heading(None::<&'static str>)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<S: Selection> FromArgMatches for Flags<S> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = options::<S>().filter(|o| matches.value_source(o.name) == Some(ValueSource::CommandLine));
        let texts =
            given.filter_map(|o| Some((o.name, matches.get_one::<String>(o.name)?.clone()))).collect();
        Ok(Self { texts, selection: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn options<S: Selection>() -> impl Iterator<Item = &'static Opt> {
    S::GROUPS.iter().flat_map(|group| group.options)
}

fn arg(option: &'static Opt) -> Arg {
    let arg = Arg::new(option.name).long(option.name).short(option.short).help(option.help);
    let arg =
        if option.more.is_empty() { arg } else { arg.long_help(format!("{}. {}", option.help, option.more)) };
    // The default is only for the help: an option counts as given only if it is on the command line.
    let arg = if option.default.is_empty() { arg } else { arg.default_value(option.default) };
    match option.kind {
        Kind::Value(name) => arg.value_name(name),
        Kind::File => arg.value_name("FILE").value_hint(ValueHint::FilePath),
        Kind::Choice(words) => arg.value_name("WORD").value_parser(PossibleValuesParser::new(words)),
        Kind::Switch => arg
            .value_name("BOOL")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .hide_default_value(true),
    }
}
