//! The tables of `docs/options.md`, generated from the description of the arguments.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use clap::{Arg, ArgAction, CommandFactory};

use crate::arguments::Arguments;

const BEGIN: &str = "<!-- options -->\n";
const END: &str = "<!-- /options -->";

/// The options of `run` as tables in Markdown, in the order and under the headings of `--help`.
fn tables() -> String {
    let command = Arguments::command();
    let shown_only = |arg: &Arg| matches!(arg.get_action(), ArgAction::Help | ArgAction::Version);
    let mut tables = String::new();
    let mut last = None;
    for arg in command.get_arguments().filter(|arg| !shown_only(arg)) {
        let heading = arg.get_help_heading().unwrap_or("Common options");
        if last != Some(heading) {
            let line = if last.is_some() { "\n" } else { "" };
            writeln!(tables, "{line}## {heading}\n\n| option | default | |\n|---|---|---|").unwrap();
            last = Some(heading);
        }
        tables += &row(arg);
    }
    tables
}

fn row(arg: &Arg) -> String {
    let name = arg.get_long().unwrap_or_default();
    let short = arg.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
    let default = match arg.get_default_values() {
        [value] if !arg.is_hide_default_value_set() => format!("`{}`", value.to_string_lossy()),
        _ => String::new(),
    };
    let words: Vec<_> =
        arg.get_possible_values().iter().map(|word| format!("`{}`", word.get_name())).collect();
    let words = if words.len() > 1 { format!("{}: ", words.join(", ")) } else { String::new() };
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    format!("| `{short}--{name}` | {default} | {words}{help} |\n")
}

#[test]
fn docs_options_has_the_options_of_the_program() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/options.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("docs/options.md has the marker <!-- options -->");
    let (found, after) = rest.split_once(END).expect("docs/options.md has the marker <!-- /options -->");
    let tables = tables();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{tables}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(
        found, tables,
        "update it with UPDATE_DOCS=1 cargo test -p redis-consumer-group-cli docs_options"
    );
}
