//! What the help says. After a change: `INSTA_UPDATE=always cargo test -p redis-consumer-group-cli --test help`.

mod support;

use support::{program, run};

#[test]
fn the_help_of_run_is_as_reviewed() {
    let help = run(program(&["run", "--help"]).env("COLUMNS", "100"));
    assert_eq!(help.code, 0);
    insta::assert_snapshot!(help.stdout);
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
    let options = |help: String| {
        let words = help.split_whitespace().filter(|word| word.starts_with("--"));
        words.map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
    };
    let [plain, named] =
        [&["--help"][..], &["run", "--help"]].map(|args| options(run(&mut program(args)).stdout));
    assert_eq!(named.difference(&plain).collect::<Vec<_>>(), Vec::<&String>::new());
}
