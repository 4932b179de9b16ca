//! A page of the documentation, and its commands.

use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

pub(crate) struct Page {
    path: &'static str,
    text: String,
}

/// A step of a page. Steps are run in the order of the page.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Lines of a shell, and the output that the page shows. `None` if it shows none.
    Run {
        at: String,
        command: String,
        printed: Option<String>,
    },
    File {
        name: String,
        text: String,
    },
}

impl Page {
    pub(crate) fn read(path: &'static str) -> Self {
        Self { path, text: fs::read_to_string(root().join(path)).unwrap() }
    }

    /// The steps to run. Panics if a block that is not run contains a command.
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut lines = self.text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            let Some(language) = line.strip_prefix("```") else { continue };
            let at = format!("{}, line {}", self.path, number + 1);
            let block: Vec<_> =
                lines.by_ref().map(|(_, line)| line).take_while(|line| !line.starts_with("```")).collect();
            match language {
                "sh" => steps.extend(block.iter().map(|line| Step::Run {
                    at: at.clone(),
                    command: (*line).to_owned(),
                    printed: None,
                })),
                "console" => steps.extend(transcripts(&at, &block)),
                "python" | "toml" => steps.extend(
                    block[0]
                        .strip_prefix("# ")
                        .map(|name| Step::File { name: name.to_owned(), text: block.join("\n") }),
                ),
                "text" => {
                    assert!(!block.iter().any(|line| is_command(line)), "{at}: a command that is not run")
                }
                rust if rust.starts_with("rust") => {}
                other => panic!("{at}: a block of the unknown kind {other:?}"),
            }
        }
        steps
    }

    /// The links to missing files, and to headings that a page does not have.
    pub(crate) fn broken_links(&self) -> Vec<String> {
        let targets = self.text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let here = root().join(self.path);
        let is_broken = |target: &&str| {
            let (path, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = if path.is_empty() { here.clone() } else { here.parent().unwrap().join(path) };
            match fs::read_to_string(&file) {
                Ok(page) if !heading.is_empty() => !page.lines().any(|line| anchor(line) == heading),
                _ => !file.exists(),
            }
        };
        targets.filter(|target| !target.starts_with("http")).filter(is_broken).map(str::to_owned).collect()
    }
}

/// The link target of a heading. Empty for any other line.
fn anchor(line: &str) -> String {
    let Some(heading) = line.strip_prefix('#') else { return String::new() };
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn transcripts(at: &str, block: &[&str]) -> Vec<Step> {
    let mut steps: Vec<(String, Vec<&str>)> = Vec::new();
    for line in block {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push((command.to_owned(), Vec::new())),
            (None, Some((_, printed))) => printed.push(line),
            (None, None) => panic!("{at}: output without a command"),
        }
    }
    let step = |(command, printed): (String, Vec<&str>)| Step::Run {
        at: at.to_owned(),
        command,
        printed: Some(printed.join("\n")),
    };
    steps.into_iter().map(step).collect()
}

fn is_command(line: &str) -> bool {
    ["$ ", "redis-consumer-group ", "redis-cli ", "scripts/"].iter().any(|start| line.starts_with(start))
}
