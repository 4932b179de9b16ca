//! The help of every command. After a change: `INSTA_UPDATE=always cargo test -p redis-consumer-group-cli --test help`.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::collections::BTreeSet;

use support::{program, run};

/// What stands in the help below `Commands:`.
fn commands() -> Vec<String> {
    let help = run(&mut program(&["-h"])).stdout;
    let (_, rest) = help.split_once("Commands:\n").unwrap();
    let lines = rest.lines().take_while(|line| !line.is_empty());
    // A continued description is indented further.
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
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
    let mut calls = vec![("program".to_owned(), vec![])];
    let named = commands().into_iter().filter(|command| command != "help");
    calls.extend(named.map(|command| (command.clone(), vec![command])));
    assert!(calls.len() > 6, "{calls:?}");
    for (name, command) in calls {
        for (form, flag) in [("short", "-h"), ("long", "--help")] {
            let args: Vec<_> = command.iter().map(String::as_str).chain([flag]).collect();
            let help = run(program(&args).env("COLUMNS", "100"));
            assert_eq!((help.code, &*help.stderr), (0, ""), "{args:?}");
            insta::assert_snapshot!(format!("{name}_{form}"), help.stdout);
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
    let page = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let commands = commands().into_iter().filter(|command| command != "help");
    for command in commands {
        let page = page(&format!("redis-consumer-group-{command}.1"));
        let shown = run(&mut program(&["man", &command]));
        assert_eq!((shown.code, shown.stdout), (0, page.clone()), "{command}");
        for option in options(&run(&mut program(&[&command, "--help"])).stdout) {
            assert!(page.contains(&option.replace('-', "\\-")), "{command}: {option}");
        }
    }
    let of_program = page("redis-consumer-group.1");
    assert!(of_program.contains("redis\\-consumer\\-group\\-run(1)"), "{of_program}");
    assert_eq!(run(&mut program(&["man"])).stdout, of_program);
    let unknown = run(&mut program(&["man", "nothing"]));
    assert_eq!(unknown.code, 2, "{}", unknown.stderr);
}
