//! The table of options in the README, made from what the program knows about them.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use clap::{Arg, CommandFactory};

use crate::arguments::Arguments;

const BEGIN: &str = "<!-- options -->\n";
const END: &str = "<!-- /options -->";

/// The options of `run`, as a table in Markdown.
fn table() -> String {
    let command = Arguments::command();
    let mut table = String::from("| option | default | |\n|---|---|---|\n");
    let heading = |arg: &Arg| arg.get_help_heading().is_some();
    for arg in command.get_arguments().filter(|arg| heading(arg)) {
        let name = arg.get_long().unwrap_or_default();
        let short = arg.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
        let default = match arg.get_default_values() {
            [value] if !arg.is_hide_default_value_set() => format!("`{}`", value.to_string_lossy()),
            _ => String::new(),
        };
        let words: Vec<_> =
            arg.get_possible_values().iter().map(|word| format!("`{}`", word.get_name())).collect();
        let words = if words.len() > 1 { format!("{}: ", words.join(" or ")) } else { String::new() };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        writeln!(table, "| `{short}--{name}` | {default} | {words}{help} |").unwrap();
    }
    table
}

#[test]
fn the_table_in_the_readme_is_the_table_of_the_program() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("README.md has the marker <!-- options -->");
    let (found, after) = rest.split_once(END).expect("README.md has the marker <!-- /options -->");
    let table = table();
    if std::env::var_os("UPDATE_README").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(
        found, table,
        "bring it up to date with UPDATE_README=1 cargo test -p redis-consumer-group-cli readme"
    );
}
