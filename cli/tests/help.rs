//! The help of every command. After a change: `INSTA_UPDATE=always cargo test -p redis-consumer-group-cli --test help`.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::collections::BTreeSet;

use support::{program, run};

/// The words of every command, read from the help: the program itself, its subcommands, and theirs.
fn commands() -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut next = 0;
    while let Some(command) = commands.get(next).cloned() {
        commands.extend(subcommands(&command));
        next += 1;
    }
    commands
}

/// The commands that the help lists below `Commands:`.
fn subcommands(command: &[String]) -> Vec<Vec<String>> {
    let help = said(command, &["-h"]);
    let Some((_, rest)) = help.split_once("Commands:\n") else { return Vec::new() };
    let lines = rest.lines().take_while(|line| !line.is_empty());
    // A continued description is indented further.
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.map(|line| line.split_whitespace().next().unwrap()).filter(|name| *name != "help");
    names.map(|name| [command, &[name.to_owned()]].concat()).collect()
}

fn said(command: &[String], more: &[&str]) -> String {
    let args: Vec<_> = command.iter().map(String::as_str).chain(more.iter().copied()).collect();
    let end = run(program(&args).env("COLUMNS", "100"));
    assert_eq!((end.code, &*end.stderr), (0, ""), "{args:?}");
    end.stdout
}

fn options(help: &str) -> BTreeSet<String> {
    let options = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    options
        .flat_map(|line| line.split([' ', '[', ',']).filter(|word| word.starts_with("--")))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_help_of_every_command_is_as_reviewed() {
    let commands = commands();
    assert!(commands.len() > 6, "{commands:?}");
    for command in commands {
        let name = if command.is_empty() { "program".to_owned() } else { command.join("_") };
        for (form, flag) in [("short", "-h"), ("long", "--help")] {
            insta::assert_snapshot!(format!("{name}_{form}"), said(&command, &[flag]));
        }
    }
}

#[test]
fn the_short_help_of_run_has_an_example_and_the_ten_common_options() {
    let help = run(program(&["run", "-h"]).env("COLUMNS", "100")).stdout;
    let (example, usage) = (help.find("Example:").unwrap(), help.find("Usage:").unwrap());
    assert!(example < usage);
    let mut options = options(&help);
    assert!(options.remove("--help"));
    assert_eq!(options.len(), 10, "{options:?}");
}

#[test]
fn the_help_shows_no_value_of_a_variable() {
    for args in [&["--help"][..], &["run", "--help"], &["ids", "--help"], &["-h"]] {
        let help = run(program(args).env("RCG_URL", "redis://:hush@h").env("RCG_INPUT", "hush"));
        assert!(!help.stdout.contains("hush"), "{args:?}");
    }
}

#[test]
fn the_plain_help_has_all_options_of_run() {
    let [plain, named] =
        [&["--help"][..], &["run", "--help"]].map(|args| options(&run(&mut program(args)).stdout));
    assert!(named.len() > 30, "{named:?}");
    assert_eq!(named.difference(&plain).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn every_command_has_a_manual_page_with_its_options() {
    let folder = tempfile::tempdir().unwrap();
    let written = run(&mut program(&["man", "--dir", folder.path().to_str().unwrap()]));
    assert_eq!(written.code, 0, "{}", written.stderr);
    for command in commands() {
        let name = [&["redis-consumer-group".to_owned()][..], &command].concat().join("-");
        let page = std::fs::read_to_string(folder.path().join(format!("{name}.1"))).unwrap();
        assert_eq!(said(&[&["man".to_owned()][..], &command].concat(), &[]), page, "{command:?}");
        for option in options(&said(&command, &["--help"])) {
            assert!(page.contains(&option.replace('-', "\\-")), "{command:?}: {option}");
        }
        for subcommand in subcommands(&command) {
            let page_of_it = format!("redis\\-consumer\\-group\\-{}(1)", subcommand.join("\\-"));
            assert!(page.contains(&page_of_it), "{command:?}: {subcommand:?}");
        }
    }
    let unknown = run(&mut program(&["man", "nothing"]));
    assert_eq!(unknown.code, 2, "{}", unknown.stderr);
}
