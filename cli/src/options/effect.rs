//! Options that were given but have no effect in combination with the others.

use redis_consumer_group::client::why_without_effect;

use super::layers::Given;
use super::settings::Settings;

/// A warning for each of them.
pub(super) fn without_effect(given: &[Given], settings: &Settings) -> Vec<String> {
    let says = |given: &Given| {
        let why = why_not(given, settings)?;
        Some(format!("{} has no effect{why}", given.origin))
    };
    given.iter().filter_map(says).collect()
}

/// Why the option has no effect: the end of its warning.
pub(super) fn why_not(given: &Given, settings: &Settings) -> Option<&'static str> {
    match given.option.name {
        // It has an effect, although not that of a pattern. The group itself warns of that.
        "input" => None,
        "log" if settings.log.quiet => Some(": quiet leaves only warnings and errors in the log"),
        option => why_without_effect(&settings.config, option),
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
            ["--group has no effect: it applies only to the source stream", spill_max]
        );
        assert_eq!(warnings(&[("overflow", "spill")]), [""; 0]);
        let of_stream = warnings(&[("source", "stream"), ("group", "workers"), ("overflow", "wait")]);
        let reads = "the source reads no more than there is room for";
        assert_eq!(
            of_stream,
            [format!("--overflow has no effect: {reads}"), format!("RCG_SPILL_MAX has no effect: {reads}")]
        );
    }

    #[test]
    fn an_option_without_effect_is_told_once_so_the_group_does_not_get_it() {
        let flags = [("group", "workers"), ("keep", "1s")];
        let flags = flags.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
        let layers = Layers::new(flags, Variables::default()).unwrap();
        let config = Settings::read(&layers, RUN).unwrap().config;
        assert_eq!(config.stream.group, "processors");
        assert_eq!(config.keep, std::time::Duration::from_secs(1));
    }
}
