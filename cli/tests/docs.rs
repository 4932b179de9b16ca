//! The pages of the documentation: every command in them runs and prints what the page shows.
//!
//! | fenced block | |
//! |---|---|
//! | `sh` | commands, run one after another against a private server; each has to succeed |
//! | `console` | commands after `$ `, each followed by its output. Numbers and ids may differ, and `…` stands for any lines |
//! | `toml`, `python` | a file, if its first line is a comment with the name |
//! | `rust` | compiled by the library's doctests |
//! | `text` | anything else. It must not contain commands |
//!
//! A group that a page starts runs until the end of the page. So does a program in Python, whose block (`console`) shows
//! the first lines that it prints. `localhost:6379`, `any-node:7000` and
//! `sentinel-1:26379,sentinel-2:26379` stand for a private server, a private cluster and private sentinels.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod documentation;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use documentation::page::{Page, root};
use documentation::session::Session;

/// A test for each page.
macro_rules! pages {
    ($($test:ident: $path:literal),+ $(,)?) => {
        const PAGES: &[&str] = &[$($path),+];
        $(#[tokio::test]
        async fn $test() {
            Session::play(&Page::read($path)).await;
        })+
    };
}

pages! {
    the_commands_of_the_readme_do_what_it_says: "README.md",
    the_commands_of_the_page_on_measuring_run: "docs/bench.md",
    the_commands_of_the_page_on_clusters_run: "docs/cluster.md",
    the_commands_of_the_page_on_credentials_run: "docs/credentials.md",
    the_commands_of_the_page_on_the_design_for_clusters_run: "docs/design-cluster.md",
    the_commands_of_the_library_guide_run: "docs/library.md",
    the_commands_of_the_page_on_migrating_run: "docs/migrate.md",
    the_commands_of_the_page_on_names_run: "docs/names.md",
    the_commands_of_the_page_on_operations_run: "docs/operations.md",
    the_commands_of_the_page_on_options_run: "docs/options.md",
    the_commands_of_the_page_on_permissions_run: "docs/permissions.md",
    the_commands_of_the_page_on_publishing_run: "docs/publish.md",
    the_commands_of_the_page_on_rejected_messages_run: "docs/rejected.md",
    the_commands_of_the_page_on_scaling_run: "docs/scaling.md",
    the_commands_of_the_page_on_sentinels_run: "docs/sentinel.md",
    the_commands_of_the_page_on_sources_run: "docs/sources.md",
    the_commands_of_the_page_on_the_spill_run: "docs/spill.md",
}

#[test]
fn every_page_has_a_test_and_every_link_a_target() {
    let folder = fs::read_dir(root().join("docs")).unwrap();
    let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let found: BTreeSet<_> =
        names.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}")).collect();
    let tested: BTreeSet<_> = PAGES[1..].iter().map(|path| (*path).to_owned()).collect();
    assert_eq!(found, tested);
    let others = ["ARCHITECTURE.md", "BENCHMARKS.md", "CHANGELOG.md", "CONTRIBUTING.md"];
    for path in PAGES.iter().chain(&others) {
        let broken = Page::read(path).broken_links();
        assert!(broken.is_empty(), "{path}: {broken:?}");
    }
}

#[test]
fn every_event_of_the_log_and_every_field_of_a_report_is_on_the_page_on_operations() {
    let page = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let mut names = events(&root().join("src"));
    assert!(names.len() > 30, "{names:?}");
    for report in page.lines().filter(|line| line.starts_with("{\"type\"")) {
        let report: serde_json::Map<String, serde_json::Value> = serde_json::from_str(report).unwrap();
        names.extend(report.into_iter().map(|(name, _)| name));
    }
    names.retain(|name| !page.contains(&format!("`{name}`")));
    assert!(names.is_empty(), "docs/operations.md does not say what these are: {names:?}");
}

/// The names of all events that the files in this folder log.
fn events(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(events(&path));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let values = text.lines().filter_map(|line| line.split_once("event = ")).map(|(_, value)| value);
        // The value is a word in quotes, or a choice between two.
        let words = values.flat_map(|value| value.split('"').skip(1).step_by(2));
        let is_name = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        found.extend(words.filter(is_name).map(str::to_owned));
    }
    found
}

#[test]
fn the_doctests_have_every_page_with_rust() {
    let library = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    for path in PAGES {
        let has_rust = fs::read_to_string(root().join(path)).unwrap().contains("\n```rust");
        let is_there = library.contains(&format!("include_str!(\"../{path}\")"));
        assert_eq!(has_rust, is_there, "{path}");
    }
}

#[test]
fn the_readme_is_short() {
    assert!(fs::read_to_string(root().join("README.md")).unwrap().lines().count() < 200);
}
