//! Settings that have no effect in combination with the others.

use super::{Commit, Config, Overflow, SourceKind};

/// A setting that may have no effect.
struct Setting {
    /// Its name in [`Error::Config`](crate::Error::Config).
    option: &'static str,
    /// Its field in [`Config`].
    field: &'static str,
    /// Whether it differs between two configurations.
    differs: fn(&Config, &Config) -> bool,
}

/// A row of the table: a name, and the path of the field.
macro_rules! settings {
    ($($option:literal => $($field:ident).+,)*) => {
        &[$(Setting {
            option: $option,
            field: concat!($(".", stringify!($field)),+),
            differs: |one, other| one.$($field).+ != other.$($field).+,
        }),*]
    };
}

const SETTINGS: &[Setting] = settings! {
    "input" => input,
    "group" => stream.group,
    "from" => stream.begin_at,
    "payload-field" => stream.payload_field,
    "with-source-id" => stream.with_source_id,
    "claim-foreign-after" => stream.claim_foreign_after,
    "trim" => stream.trim,
    "replay" => replay,
    "overflow" => overflow,
    "max-payload" => max_payload,
    "spill-key" => spill_key,
    "spill-max" => spill_max,
    "retry-delay" => retry_delay,
    "retry-max-delay" => retry_max_delay,
    "rejected-maxlen" => rejected_maxlen,
    "keep" => keep,
};

impl Config {
    /// Warns about settings that have no effect in this combination. None of them prevents the start.
    pub(crate) fn warn_without_effect(&self) {
        for (setting, why) in self.without_effect() {
            tracing::warn!(event = "no_effect", setting, "{setting} has no effect{why}");
        }
    }

    /// The settings that differ from their defaults and have no effect: the name of each field, and the end of a
    /// sentence that begins with "… has no effect".
    fn without_effect(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let default = Self::default();
        let changed = SETTINGS.iter().filter(move |setting| (setting.differs)(self, &default));
        changed.filter_map(|setting| {
            let field = setting.field.trim_start_matches('.');
            Some((field, self.why_without_effect(setting.option)?))
        })
    }

    /// Why an option, with its name in the program, has no effect in this configuration: the end of such a sentence.
    pub(crate) fn why_without_effect(&self, option: &str) -> Option<&'static str> {
        let (source, is_channel) = (self.source, self.source.is_channel());
        match option {
            "group" | "from" | "claim-foreign-after" | "trim" if source != SourceKind::Stream => {
                Some(": it applies only to the source stream")
            }
            "payload-field" | "with-source-id" if is_channel => {
                Some(": it applies only to the source stream")
            }
            "replay" if source != SourceKind::Rejected => Some(": it applies only to the source rejected"),
            "overflow" | "max-payload" | "spill-key" | "spill-max" if !is_channel => {
                Some(": the source reads no more than there is room for")
            }
            "spill-key" | "spill-max" if self.overflow != Overflow::Spill => {
                Some(": messages go to the spill only where overflow is spill")
            }
            "retry-delay" | "retry-max-delay" if self.max_attempts == 1 => {
                Some(": with one attempt, nothing is retried")
            }
            "rejected-maxlen" if source == SourceKind::Rejected => Some(": a replay does not trim"),
            "keep" if self.commit == Commit::AtLeastOnce => {
                Some(": nothing is kept where commit is at-least-once")
            }
            "input" if is_channel && self.input.contains(['*', '?', '[']) => {
                Some(" as a pattern: it is taken literally, as the name of one channel")
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Begin, Replay};
    use super::*;

    fn without_effect(change: impl FnOnce(&mut Config)) -> Vec<&'static str> {
        let mut config = Config::default();
        change(&mut config);
        config.without_effect().map(|(field, _)| field).collect()
    }

    #[test]
    fn a_setting_has_the_name_of_its_field() {
        let of_stream = |config: &mut Config| {
            config.stream.group = "workers".into();
            config.stream.begin_at = Begin::New;
            config.spill_max = 5;
        };
        assert_eq!(without_effect(of_stream), ["stream.group", "stream.begin_at", "spill_max"]);
        let with = |source: SourceKind| {
            without_effect(|config| {
                of_stream(config);
                config.source = source;
            })
        };
        assert_eq!(with(SourceKind::Stream), ["spill_max"]);
        assert_eq!(with(SourceKind::Rejected), ["stream.group", "stream.begin_at", "spill_max"]);
    }

    #[test]
    fn a_replay_and_one_attempt_have_settings_without_effect_too() {
        assert_eq!(without_effect(|config| config.replay = Replay::all().count(1)), ["replay"]);
        let once = without_effect(|config| {
            config.max_attempts = 1;
            config.retry_max_delay = Duration::from_secs(60);
        });
        assert_eq!(once, ["retry_max_delay"]);
        let replay = without_effect(|config| {
            config.source = SourceKind::Rejected;
            config.replay = Replay::all().count(1);
            config.rejected_maxlen = Some(5);
        });
        assert_eq!(replay, ["rejected_maxlen"]);
    }

    #[test]
    fn the_defaults_have_an_effect_or_are_not_told() {
        for source in [SourceKind::PubSub, SourceKind::Sharded, SourceKind::Stream, SourceKind::Rejected] {
            assert_eq!(without_effect(|config| config.source = source), [""; 0], "{source:?}");
        }
        assert_eq!(without_effect(|config| config.overflow = Overflow::Spill), [""; 0]);
    }

    #[test]
    fn a_pattern_is_reported_where_it_would_be_one() {
        let mut config = Config { input: "orders:*".into(), ..Config::default() };
        let told: Vec<_> = config.without_effect().collect();
        assert_eq!(told, [("input", " as a pattern: it is taken literally, as the name of one channel")]);
        config.source = SourceKind::Stream;
        assert_eq!(config.without_effect().count(), 0);
    }
}
