//! Options that were given but have no effect in combination with the others.

use redis_consumer_group::{Commit, Overflow, SourceKind};

use super::layers::Given;
use super::settings::Settings;

/// A warning for each of them.
pub(super) fn without_effect(given: &[Given], settings: &Settings) -> Vec<String> {
    let says = |given: &Given| {
        let why = why_not(given.option.name, settings)?;
        Some(format!("{} has no effect{why}", given.origin))
    };
    given.iter().filter_map(says).collect()
}

/// Why an option has no effect: the end of its warning.
fn why_not(option: &str, settings: &Settings) -> Option<&'static str> {
    let config = &settings.config;
    let (of_stream, spills) = (config.source == SourceKind::Stream, config.overflow == Overflow::Spill);
    match option {
        "group" | "from" | "payload-field" | "with-source-id" | "claim-foreign-after" | "trim"
            if !of_stream =>
        {
            Some(": it is for the source stream")
        }
        "overflow" | "max-payload" | "spill-key" | "spill-max" if of_stream => {
            Some(": the source stream reads no more than there is room for")
        }
        "spill-key" | "spill-max" if !spills => {
            Some(": messages go to the spill only where overflow is spill")
        }
        "keep" if config.commit == Commit::AtLeastOnce => {
            Some(": nothing is kept where commit is at-least-once")
        }
        "log" if settings.log.quiet => Some(": quiet leaves only warnings and errors in the log"),
        "input" if !of_stream && config.input.contains(['*', '?', '[']) => {
            Some(" as a pattern: it names this one channel, character by character")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::layers::Layers;
    use super::super::table::RUN;
    use super::super::variables::Variables;
    use super::*;

    fn warnings(flags: &[(&'static str, &str)]) -> Vec<String> {
        let flags = flags.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
        let variables: Variables = [("RCG_SPILL_MAX", "5")].into_iter().collect();
        Settings::read(&Layers::new(flags, variables).unwrap(), RUN).unwrap().warnings
    }

    #[test]
    fn an_option_that_does_nothing_with_the_others_is_told_with_where_it_was_given() {
        let spill_max = "RCG_SPILL_MAX has no effect: messages go to the spill only where overflow is spill";
        assert_eq!(
            warnings(&[("group", "workers")]),
            ["--group has no effect: it is for the source stream", spill_max]
        );
        assert_eq!(warnings(&[("overflow", "spill")]), [""; 0]);
        let of_stream = warnings(&[("source", "stream"), ("group", "workers"), ("overflow", "wait")]);
        let reads = "the source stream reads no more than there is room for";
        assert_eq!(
            of_stream,
            [format!("--overflow has no effect: {reads}"), format!("RCG_SPILL_MAX has no effect: {reads}")]
        );
        let pattern = warnings(&[("input", "orders:*"), ("overflow", "spill")]);
        assert_eq!(
            pattern,
            ["--input has no effect as a pattern: it names this one channel, character by character"]
        );
    }
}
