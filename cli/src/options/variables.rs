//! The environment variables that set options.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;

use super::error::{OptionError, Origin};
use super::names::did_you_mean;
use super::option::Opt;

/// The variables of the environment. One that is empty counts as not set.
#[derive(Default)]
pub(crate) struct Variables(BTreeMap<String, OsString>);

impl Variables {
    /// The variables of this process.
    pub(crate) fn of_process() -> Self {
        env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect()
    }

    /// The text for an option, from its own variable or the one it falls back to.
    ///
    /// # Errors
    /// When it is not UTF-8.
    pub(super) fn get(&self, option: &Opt) -> Result<Option<(String, Origin)>, OptionError> {
        let own = option.variable();
        let found = match (self.0.get(&own), option.fallback) {
            (Some(value), _) => Some((value, Origin::Variable(own))),
            (None, Some(name)) => self.0.get(name).map(|value| (value, Origin::Fallback(name))),
            (None, None) => None,
        };
        let Some((value, origin)) = found else { return Ok(None) };
        // A variable that may be meant for other programs is never an error.
        if option.foreign.is_some() && matches!(origin, Origin::Fallback(_)) {
            return Ok(Some((value.to_string_lossy().into_owned(), origin)));
        }
        match value.to_str() {
            Some(text) => Ok(Some((text.to_owned(), origin))),
            None => Err(OptionError { origin, problem: "the value is not valid UTF-8".to_owned() }),
        }
    }

    /// A warning for each unknown variable that begins with `RCG_`.
    pub(super) fn unknown(&self, options: &[&Opt]) -> Vec<String> {
        let known: Vec<_> = options.iter().map(|option| option.variable()).collect();
        let strange = self.0.keys().filter(|name| name.starts_with("RCG_") && !known.contains(name));
        strange
            .map(|name| {
                let hint = did_you_mean(name, known.iter().map(String::as_str));
                format!("{name}: unknown variable, ignored; {hint}")
            })
            .collect()
    }
}

impl<N: Into<String>, V: Into<OsString>> FromIterator<(N, V)> for Variables {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let pairs = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self(pairs.filter(|(_, value): &(String, OsString)| !value.is_empty()).collect())
    }
}
