//! Compares the output of a command with a page.

/// Stands for any lines.
const ANYTHING: &str = "…";

/// Checks that the output has every line of the page, in order, and no other line. Numbers and ids may differ, and a
/// line may be repeated a different number of times.
///
/// # Errors
/// The first line that differs from the page.
pub(super) fn is_as_said(page: &str, found: &str) -> Result<(), String> {
    let (page, found) = (lines(page), lines(found));
    let mut found = found.iter().peekable();
    let mut skips = false;
    for line in &page {
        if line == ANYTHING {
            skips = true;
            continue;
        }
        while skips && found.peek().is_some_and(|found| *found != line) {
            found.next();
        }
        skips = false;
        match found.next() {
            Some(found) if found == line => {}
            other => return Err(format!("the page says {line:?}, and not {other:?}")),
        }
    }
    match found.next() {
        Some(more) if !skips => Err(format!("the page does not say {more:?}")),
        _ => Ok(()),
    }
}

fn lines(text: &str) -> Vec<String> {
    let lines = text.lines().map(normal).filter(|line| !line.is_empty());
    let mut lines: Vec<_> = lines.collect();
    lines.dedup();
    lines
}

/// A line without the parts that differ from run to run.
fn normal(line: &str) -> String {
    let words = line.split_whitespace().map(|word| {
        // The id of a consumer, also in quotes.
        let bare = word.trim_matches('"');
        if bare.len() == 36 && bare.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
            return word.replace(bare, "ID");
        }
        // The path of the server's program.
        if word.starts_with("(/") {
            return "(PATH)".to_owned();
        }
        let word = if word == "Valkey" { "Redis" } else { word };
        let mut text = String::new();
        for c in word.chars() {
            match c {
                '0'..='9' if text.ends_with('#') => {}
                '0'..='9' => text.push('#'),
                c => text.push(c),
            }
        }
        // 7.0.15 and 9.1 become equal, and so do 0.0 and 12.
        while text.contains("#.#") {
            text = text.replace("#.#", "#");
        }
        text
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_transcript_differs_in_numbers_only() {
    let page =
        "Redis 7.0.15 (/usr/bin/redis-server) runs.\n\nProcessed 10 messages.\nProcessed 9 messages.\n…\nend";
    let found = "Redis 8.2 (/x/redis-server) runs.\nProcessed 3 messages.\nmore\n\nend\n";
    assert_eq!(is_as_said(page, found), Ok(()));
    assert!(is_as_said(page, "Redis 8.2 (/x) runs.\nProcessed 3 messages.\nmore").is_err());
    assert!(is_as_said(page, &found.replace("Processed", "Dropped")).is_err());
    assert!(is_as_said(page, &format!("{found}and more")).is_err());
    assert!(is_as_said("end\n…", "end\nand more").is_ok());
}
