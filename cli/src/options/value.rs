//! Parses texts into values. Each error shows the text and an example of a correct one.

use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use redis_consumer_group::Begin;
use tracing_subscriber::filter::{LevelFilter, Targets};

/// Stores a value if it is valid.
pub(super) fn put<T>(place: &mut T, value: Result<T, String>) -> Result<(), String> {
    *place = value?;
    Ok(())
}

/// A number without a sign.
pub(super) fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is not a valid number (for example 4)"))
}

/// A number of bytes.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let size: Result<ByteSize, _> = text.parse();
    size.ok()
        .and_then(|size| usize::try_from(size.as_u64()).ok())
        .ok_or_else(|| format!("{text:?} is not a size (for example 256MiB, 1GB, or 65536 for bytes)"))
}

/// A duration of at most a year: adding a very long one to a clock overflows.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= YEAR => Ok(duration),
        Ok(_) => Err(format!("{text:?} is longer than a year; use a shorter duration")),
        Err(_) => Err(format!("{text:?} is not a duration (for example 3s, 250ms)")),
    }
}

/// A duration above zero.
pub(crate) fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("the time must be above 0; use 1s or more".to_owned()),
        duration => Ok(duration),
    }
}

/// Where the group of a stream starts.
pub(super) fn begin(text: &str) -> Result<Begin, String> {
    match text {
        "beginning" => Ok(Begin::Beginning),
        "new" => Ok(Begin::New),
        id => id.parse().map(Begin::After).map_err(|problem| format!("{problem}, or beginning, or new")),
    }
}

/// A value, or the word `none`.
pub(super) fn optional<T>(
    text: &str,
    value: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    match text {
        "none" => Ok(None),
        text => value(text).map(Some).map_err(|problem| format!("{problem}, or none")),
    }
}

/// On or off.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!("{text:?} is not true or false")),
    }
}

/// Levels of the log.
pub(super) fn filter(text: &str) -> Result<Targets, String> {
    let known = |word: &str| matches!(word, "off" | "error" | "warn" | "info" | "debug" | "trace");
    // A single word that is not a level would be read as the name of a module.
    let meant =
        text.split(',').all(|part| part.contains('=') || part.contains("::") || known(&part.to_lowercase()));
    text.parse().ok().filter(|_| meant).ok_or_else(|| {
        format!("{text:?} is not a log level; use error, warn, info, debug or trace, or levels per module such as info,redis_consumer_group=debug")
    })
}

/// Levels in a variable that other programs read too. If it does not mention our modules, the default stays.
pub(super) fn foreign_filter(text: &str) -> Result<Targets, String> {
    const OURS: &str = "redis_consumer_group";
    let filter: Targets = text.parse().map_err(|_| {
        format!("{text:?} is not a filter this program can read; set its level with --log or RCG_LOG")
    })?;
    // A name applies to all modules whose names begin with it.
    let ours = |name: &str| name.starts_with(OURS) || OURS.starts_with(name);
    let meant = filter.default_level().is_some() || filter.iter().any(|(name, _)| ours(name));
    Ok(if meant { filter } else { Targets::new().with_default(LevelFilter::INFO) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_both_kinds_of_units() {
        for (text, bytes) in [
            ("65536", 65536),
            ("64KiB", 65536),
            ("256MiB", 256 << 20),
            ("1GB", 1_000_000_000),
            ("1 kb", 1000),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1 apple", "0x10"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit_and_are_at_most_a_year() {
        assert_eq!(duration("3s"), Ok(Duration::from_secs(3)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        for text in ["", "3", "-3s", "2years", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn none_is_a_value_where_there_need_not_be_one() {
        assert_eq!(optional("none", number::<u64>), Ok(None));
        assert_eq!(optional("7", number::<u64>), Ok(Some(7)));
        assert!(optional("seven", number::<u64>).unwrap_err().ends_with("or none"));
    }

    #[test]
    fn a_group_begins_at_a_word_or_after_an_id() {
        assert_eq!(begin("beginning"), Ok(Begin::Beginning));
        assert_eq!(begin("new"), Ok(Begin::New));
        assert!(matches!(begin("1700000000000-3"), Ok(Begin::After(id)) if id.seq == 3));
        for text in ["", "$", "end", "1-x", "-1-0"] {
            assert!(begin(text).unwrap_err().ends_with(", or beginning, or new"), "{text}");
        }
    }

    #[test]
    fn a_level_can_be_for_a_part_only() {
        for text in
            ["info", "WARN", "off", "info,redis_consumer_group=debug", "redis_consumer_group::group=trace"]
        {
            assert!(filter(text).is_ok(), "{text}");
        }
        for text in ["", "loud", "info,loud", "redis_consumer_group=loud"] {
            assert!(filter(text).is_err(), "{text}");
        }
    }
}
