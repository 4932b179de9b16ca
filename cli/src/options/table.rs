//! Every option of the program that is also a variable and a key of the file, and which subcommands have it. Each group
//! of options has its own file, and its own heading in the help.

mod buffer;
mod connection;
mod group;
mod keys;
mod reports;
mod shards;
mod stream;

use super::option::{Group, Opt};

/// The options of `run`.
pub(crate) const RUN: &[Group] = &[
    connection::GROUP,
    group::GROUP,
    keys::GROUP,
    shards::GROUP,
    stream::GROUP,
    buffer::GROUP,
    reports::GROUP,
];

/// The common options of `run`: `-h` shows only these, and `--help` shows them first.
pub(crate) const COMMON: &[&str] = &[
    "redis-addr",
    "url",
    "password-file",
    "config",
    "consumers",
    "source",
    "input",
    "output",
    "overflow",
    "json",
];

/// The options that name the server, shared by all subcommands.
pub(crate) const CONNECTION: &[Group] = &[connection::GROUP];

/// The options of `ids`.
pub(crate) const IDS: &[Group] =
    &[connection::GROUP, Group { options: &[named(&keys::GROUP, "ids-key")], ..keys::GROUP }, shards::GROUP];

/// The options of `rejected list` and `rejected clear`.
pub(crate) const REJECTED: &[Group] =
    &[connection::GROUP, Group { options: &[named(&keys::GROUP, "rejected")], ..keys::GROUP }, shards::GROUP];

/// The options of `rejected replay`: those of `run` that do not concern an input.
pub(crate) const REPLAY: &[Group] = &[
    connection::GROUP,
    Group {
        options: &[
            named(&group::GROUP, "consumers"),
            named(&group::GROUP, "max-attempts"),
            named(&group::GROUP, "processor-timeout"),
            named(&group::GROUP, "drain-timeout"),
            named(&group::GROUP, "keep"),
            named(&group::GROUP, "lease"),
        ],
        ..group::GROUP
    },
    Group {
        options: &[
            named(&keys::GROUP, "output"),
            named(&keys::GROUP, "rejected"),
            named(&keys::GROUP, "ids-key"),
            named(&keys::GROUP, "maxlen"),
        ],
        ..keys::GROUP
    },
    shards::GROUP,
    Group {
        heading: "Messages of a stream",
        options: &[named(&stream::GROUP, "payload-field"), named(&stream::GROUP, "with-source-id")],
    },
    Group { options: &[named(&buffer::GROUP, "buffer")], ..buffer::GROUP },
    reports::GROUP,
];

/// The option of a group with this name. An unknown name does not compile.
const fn named(group: &Group, name: &str) -> Opt {
    let (options, mut at) = (group.options, 0);
    while !same(options[at].name.as_bytes(), name.as_bytes()) {
        at += 1;
    }
    options[at]
}

/// Compares two texts at compile time, where `==` is not available.
const fn same(one: &[u8], other: &[u8]) -> bool {
    match (one, other) {
        ([], []) => true,
        ([a, one @ ..], [b, other @ ..]) => *a == *b && same(one, other),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::settings::Settings;
    use super::*;

    fn options() -> impl Iterator<Item = &'static Opt> {
        RUN.iter().flat_map(|group| group.options)
    }

    #[test]
    fn the_defaults_in_the_help_are_the_defaults() {
        for option in options().filter(|option| !option.default.is_empty()) {
            let mut settings = Settings::default();
            option.apply(&mut settings, option.default).unwrap();
            assert_eq!(settings, Settings::default(), "--{} has another default", option.name);
        }
    }

    #[test]
    fn every_option_has_its_flag_its_variable_and_its_key() {
        let names: BTreeSet<_> = options().map(|option| option.name).collect();
        let variables: BTreeSet<_> = options().map(Opt::variable).collect();
        assert_eq!(names.len(), options().count(), "two options have one name");
        assert_eq!(variables.len(), names.len());
        let without_key: Vec<_> =
            options().filter(|option| !option.in_file).map(|option| option.name).collect();
        assert_eq!(without_key, ["config"]);
        for option in options() {
            assert!(option.name.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", option.name);
            assert!(!option.help.ends_with('.') && !option.more.ends_with('.'), "--{}", option.name);
        }
    }

    #[test]
    fn the_common_options_exist() {
        for name in COMMON {
            assert!(options().any(|option| option.name == *name), "no option is called {name}");
        }
    }
}
