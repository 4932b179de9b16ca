//! What the program said, without what differs from run to run, from server to server, and on a slow machine.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::HashSet;

use regex::Regex;
use serde_json::Value;

/// What is replaced, in this order, and by what.
const VARYING: [(&str, &str); 11] = [
    (r"^\d{4}-\d\d-\d\dT[\d:.]+Z +", ""),
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<uuid>"),
    (r"127\.0\.0\.1:\d+", "<addr>"),
    // How a connection ends depends on what was being read or written.
    (
        r"the connection broke \([^()]*(\([^()]*\))?\)|(Connection (reset by peer|refused)|Broken pipe) \(os error \d+\)|the server closed the connection",
        "<broken>",
    ),
    (r"OOM [^;,)]*'maxmemory'\.?", "OOM <text>"),
    (r"\b\d+(\.\d+)?(µs|ms|s|min|h)\b", "<duration>"),
    (r"\d+(\.\d+)? s\b", "<seconds>"),
    (
        r"Processed \d+ messages? in the last second\. \d+ in",
        "Processed <n> messages in the last second. <n> in",
    ),
    (r"buffer \d+ %", "buffer <n> %"),
    // The server may have done what nobody has heard of yet.
    (r"stopping: \d+ messages?", "stopping: <n> messages"),
    (r#""count":\d+,"event":"stop""#, r#""count":"<n>","event":"stop""#),
];

/// Lines without what varies. A line that comes again, but for that, is there once, and it does not count how often.
pub(crate) fn lines(text: &str) -> Vec<String> {
    let varying = VARYING.map(|(pattern, by)| (Regex::new(pattern).unwrap(), by));
    let stable = text.lines().map(|line| {
        varying
            .iter()
            .fold(line.to_owned(), |line, (pattern, by)| pattern.replace_all(&line, *by).into_owned())
    });
    let mut seen = HashSet::new();
    stable.filter(|line| seen.insert(line.clone())).collect()
}

/// The JSON log, a line for each event, without timestamp and what else varies.
pub(crate) fn json_lines(text: &str) -> Vec<String> {
    let stable = text.lines().map(|line| {
        let mut event: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        let fields = event.as_object_mut().unwrap();
        assert!(fields.remove("timestamp").is_some_and(|time| time.is_string()), "{line}");
        for (_, seconds) in fields.iter_mut().filter(|(name, _)| name.ends_with("seconds")) {
            assert!(seconds.is_number(), "{line}");
            *seconds = "<number>".into();
        }
        event.to_string()
    });
    lines(&stable.collect::<Vec<_>>().join("\n"))
}

/// The lines, and after them those about something that goes its own way and may come anywhere between them.
pub(crate) fn apart(lines: Vec<String>, about: &[&str]) -> String {
    let (apart, together): (Vec<_>, Vec<_>) =
        lines.into_iter().partition(|line| about.iter().any(|word| line.contains(word)));
    if apart.is_empty() {
        return together.join("\n");
    }
    format!("{}\n--- at any time\n{}", together.join("\n"), apart.join("\n"))
}

/// Durations in lines of the log that have more than three digits.
pub(crate) fn long_durations(text: &str) -> Vec<&str> {
    let duration = Regex::new(r"\b(\d+(\.\d+)?)(µs|ms|s|min|h)\b").unwrap();
    let digits = |number: &str| number.bytes().filter(u8::is_ascii_digit).count();
    text.lines()
        // The timestamp has digits of its own.
        .filter_map(|line| line.split_once(' ').map(|(_, rest)| rest))
        .flat_map(|line| duration.captures_iter(line))
        .filter(|found| digits(&found[1]) > 3)
        .map(|found| found.get(0).unwrap().as_str())
        .collect()
}
