//! A password never shows, wherever it was put and whatever is wrong.

mod support;

use support::{Said, file, program, run};

const URLS: &[&str] = &[
    "redis://u:hush@h:port",
    "redis://u:hush@h/x",
    "redis://u:12/hush@h",
    "redis://u:12#hush@h",
    "redis://u:12?hush@h",
    "redis://:hush@",
    "http://u:hush@h",
    "unix:///s?pass=a&hush",
    "unix://?pass=hush",
    "u:hush@h:6379",
    "redis+sentinel://u:hush@h",
    "redis+sentinel://u:hush@h:port/s",
    "redis+sentinel://u:12/hush@h/s",
    "redis+sentinel://h/s?sentinel_password=a&hush",
];

fn is_kept(end: &Said, codes: &[i32], place: &str) {
    assert!(codes.contains(&end.code), "{place}: {} {}", end.code, end.stderr);
    for text in [&end.stdout, &end.stderr] {
        assert!(!text.contains("hush"), "{place}: {text}");
    }
}

#[test]
fn not_when_its_url_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    for url in URLS {
        is_kept(&run(&mut program(&["--url", url])), &[2], url);
        is_kept(&run(&mut program(&["ids", "--url", url])), &[2], url);
        is_kept(&run(&mut program(&["--redis-addr", url])), &[2], url);
        is_kept(&run(program(&[]).env("RCG_URL", url)), &[78], url);
        is_kept(&run(program(&[]).env("REDIS_URL", url)), &[78], url);
        let config = file(folder.path(), "group.toml", &format!("url = '{url}'"));
        is_kept(&run(&mut program(&["--config", &config])), &[78], url);
        // No quotes, so no TOML.
        let config = file(folder.path(), "group.toml", &format!("url = {url}"));
        is_kept(&run(&mut program(&["--config", &config])), &[78], url);
    }
}

#[test]
fn not_when_it_stands_in_the_wrong_place() {
    let url = "redis://user:hush@localhost";
    is_kept(&run(&mut program(&[url])), &[2], "a subcommand");
    is_kept(&run(&mut program(&["run", url])), &[2], "an argument");
    is_kept(&run(&mut program(&["--consumers", url])), &[2], "a number");
    is_kept(&run(&mut program(&["--overflow", url])), &[2], "a word");
    is_kept(&run(&mut program(&["--ur", url])), &[2], "an unknown flag");
    is_kept(&run(&mut program(&[&format!("--urll={url}")])), &[2], "an unknown flag with its value");
    is_kept(&run(program(&[]).env("RCG_CONSUMERS", url)), &[78], "a number in a variable");
    is_kept(&run(&mut program(&["--config", url])), &[78], "a file");
}

#[test]
fn not_a_part_of_one_with_white_space() {
    for url in ["redis://u:hu sh pw@h:1", "redis://u:a hush@h:1", "unix:///s?pass=a hush"] {
        is_kept(&run(&mut program(&["--consumers", url])), &[2], "a number");
        is_kept(&run(&mut program(&["--overflow", url])), &[2], "a word");
        is_kept(&run(&mut program(&[url])), &[2], "a subcommand");
        is_kept(&run(program(&[]).env("RCG_CONSUMERS", url)), &[78], "a number in a variable");
        is_kept(&run(&mut program(&["--config", url])), &[78], "a file");
        let end = run(&mut program(&["--consumers", url]));
        assert!(!end.stderr.contains("sh pw"), "{}", end.stderr);
    }
}
