//! What a process publishes about itself.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

/// What a process works on, and which keys it leaves behind if it is killed.
///
/// Stored as JSON beside its lease, and deleted with it. Unknown members, as of a later version, are ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct About {
    /// The kind of the source: `pubsub`, `sharded` or `stream`.
    pub(crate) source: String,
    /// The channel, or the stream.
    pub(crate) input: String,
    /// The stream that records are appended to.
    pub(crate) output: String,
    pub(crate) host: Option<String>,
    pub(crate) pid: u32,
    /// When the process started, in ms since 1970 by its own clock. Only for display.
    pub(crate) started: u64,
    /// The length of the lease: it lapses if it is not renewed for so long.
    pub(crate) lease: Duration,
    /// The full names of its lane keys, so that any process can delete them after the lease has lapsed. Each contains
    /// `lane:<process>:`.
    pub(crate) lanes: Vec<String>,
}

/// Another living process that does the same work, so that each message is in the output twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SameWork {
    pub(crate) process: Uuid,
    pub(crate) about: About,
}

impl About {
    /// Whether two processes both append every message of one channel to one output. Readers of one stream share its
    /// entries instead.
    pub(super) fn does_the_work_of(&self, other: &About) -> bool {
        self.source != "stream"
            && (&self.source, &self.input, &self.output) == (&other.source, &other.input, &other.output)
    }

    /// The keys to delete with the lease of `process`.
    ///
    /// Anyone with write access to Redis can put any name here, so only names of this process's lanes count.
    pub(super) fn lanes_of(&self, process: Uuid) -> impl Iterator<Item = &str> {
        let mark = format!("lane:{process}:");
        self.lanes.iter().map(String::as_str).filter(move |name| name.contains(&mark))
    }

    pub(super) fn to_json(&self) -> String {
        json!({
            "source": self.source,
            "input": self.input,
            "output": self.output,
            "host": self.host,
            "pid": self.pid,
            "started": self.started,
            "lease": millis(self.lease),
            "lanes": self.lanes,
        })
        .to_string()
    }

    /// Reads the JSON. `None` if no process of ours has written it.
    pub(super) fn from_json(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let number = |name: &str| value.get(name).and_then(Value::as_u64);
        let lanes = value.get("lanes").and_then(Value::as_array);
        Some(Self {
            source: text("source")?,
            input: text("input")?,
            output: text("output")?,
            host: text("host"),
            pid: number("pid")?.try_into().ok()?,
            started: number("started")?,
            lease: Duration::from_millis(number("lease")?),
            lanes: lanes?.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        })
    }
}

impl fmt::Display for SameWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Anyone with write access to Redis can put any text here. It is escaped, so that it cannot begin a new line of
        // the log.
        let Self { process, about } = self;
        write!(f, "process {process} (pid {}", about.pid)?;
        if let Some(host) = &about.host {
            write!(f, " on host {}", host.escape_debug())?;
        }
        write!(
            f,
            ") works on the same channel `{}` and output `{}`: both append each message; stop one of them, or give it another channel, output \
             or shards (ignore this if that process was just killed)",
            about.input.escape_debug(),
            about.output.escape_debug()
        )
    }
}

/// Whole milliseconds, the unit of Redis.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about() -> About {
        About {
            source: "pubsub".into(),
            input: "messages:published".into(),
            output: "messages:processed".into(),
            host: Some("a \"host\"".into()),
            pid: 7,
            started: 1_700_000_000_000,
            lease: Duration::from_secs(10),
            lanes: vec![format!("{{messages:processed}}:lane:{}:0", Uuid::nil())],
        }
    }

    #[test]
    fn a_description_that_is_written_is_read_back() {
        let without_host = About { host: None, ..about() };
        for about in [about(), without_host] {
            assert_eq!(About::from_json(&about.to_json()), Some(about));
        }
    }

    #[test]
    fn a_later_version_may_add_fields_and_invalid_text_is_none() {
        let more = about().to_json().replacen('{', r#"{"weather":["fine"],"#, 1);
        assert_eq!(About::from_json(&more), Some(about()));
        for nonsense in ["", "7", "[]", "{}", r#"{"pid":-1}"#, "not json"] {
            assert_eq!(About::from_json(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn only_lanes_of_the_process_itself_are_deleted_with_its_lease() {
        let own = about().lanes[0].clone();
        let other = format!("{{messages:processed}}:lane:{}:0", Uuid::max());
        let about =
            About { lanes: vec!["messages:processed".into(), own.clone(), other, "x".into()], ..about() };
        assert_eq!(about.lanes_of(Uuid::nil()).collect::<Vec<_>>(), [own]);
    }

    #[test]
    fn one_channel_and_one_output_is_the_same_work_unless_the_entries_are_shared() {
        assert!(about().does_the_work_of(&about()));
        assert!(!about().does_the_work_of(&About { output: "elsewhere".into(), ..about() }));
        assert!(!about().does_the_work_of(&About { input: "elsewhere".into(), ..about() }));
        let stream = About { source: "stream".into(), ..about() };
        assert!(!stream.does_the_work_of(&stream));
    }

    #[test]
    fn the_description_of_another_process_cannot_forge_a_log_line() {
        let about = About {
            input: "a\u{1b}[2J".into(),
            output: "b\r".into(),
            host: Some("c\nERROR d".into()),
            ..about()
        };
        let said = SameWork { process: Uuid::nil(), about }.to_string();
        assert!(!said.contains(char::is_control), "{said:?}");
        assert!(said.contains("host c\\nERROR d)"), "{said}");
    }

    #[test]
    fn the_warning_names_the_other_process_and_what_to_do() {
        let same = SameWork { process: Uuid::nil(), about: About { host: Some("blue".into()), ..about() } };
        assert_eq!(
            same.to_string(),
            "process 00000000-0000-0000-0000-000000000000 (pid 7 on host blue) works on the same channel \
             `messages:published` and output `messages:processed`: both append each message; stop one of them, or give it another \
             channel, output or shards (ignore this if that process was just killed)"
        );
    }
}
