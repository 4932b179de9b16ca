//! Precedence: a flag overrides a variable, a variable overrides the file.

use std::collections::BTreeMap;
use std::path::Path;

use super::error::{OptionError, Origin};
use super::file::File;
use super::option::{Group, Opt};
use super::table::RUN;
use super::variables::Variables;

/// The texts that were given, in the order of precedence.
#[derive(Default)]
pub(crate) struct Layers {
    flags: BTreeMap<&'static str, String>,
    variables: Variables,
    file: File,
}

/// The text that takes effect, and its origin.
pub(super) struct Given {
    pub(super) option: &'static Opt,
    pub(super) text: String,
    pub(super) origin: Origin,
}

impl Layers {
    /// Combines the layers, and reads the file that they name.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub(super) fn new(flags: BTreeMap<&'static str, String>, variables: Variables) -> anyhow::Result<Self> {
        let mut layers = Self { flags, variables, file: File::default() };
        let options = options(RUN);
        if let Some(config) = options.iter().find(|option| !option.in_file)
            && let Some((path, _)) = layers.text(config)?
        {
            layers.file = File::read(Path::new(&path), &options)?;
        }
        Ok(layers)
    }

    /// Warnings about unknown `RCG_` variables.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.variables.unknown(&options(RUN))
    }

    /// The given values of the options in these groups.
    ///
    /// # Errors
    /// When a variable is not UTF-8, or a layer names the server twice.
    pub(super) fn given(&self, groups: &'static [Group]) -> Result<Vec<Given>, OptionError> {
        let mut given = Vec::new();
        for option in options(groups) {
            if let Some((text, origin)) = self.text(option)? {
                given.push(Given { option, text, origin });
            }
        }
        one_server(&mut given)?;
        Ok(given)
    }

    /// Whether any option of these groups was given. The name of the file does not count.
    ///
    /// # Errors
    /// As [`Layers::given`].
    pub(crate) fn has_any(&self, groups: &'static [Group]) -> Result<bool, OptionError> {
        Ok(self.given(groups)?.iter().any(|given| given.option.in_file))
    }

    fn text(&self, option: &Opt) -> Result<Option<(String, Origin)>, OptionError> {
        if let Some((name, text)) = self.flags.get_key_value(option.name) {
            return Ok(Some((text.clone(), Origin::Flag(name))));
        }
        Ok(self.variables.get(option)?.or_else(|| self.file.get(option)))
    }
}

fn options(groups: &'static [Group]) -> Vec<&'static Opt> {
    groups.iter().flat_map(|group| group.options).collect()
}

/// `--url` and `--redis-addr` set the same value: the higher layer wins, and a layer may have only one of them.
fn one_server(given: &mut Vec<Given>) -> Result<(), OptionError> {
    let place = |name| given.iter().position(|given| given.option.name == name);
    let (Some(url), Some(short)) = (place("url"), place("redis-addr")) else { return Ok(()) };
    let other = given[url].origin.clone();
    let origin = &given[short].origin;
    if origin.rank() == other.rank() {
        let problem = format!("the server is already given by {other}; use one of the two");
        return Err(OptionError { origin: origin.clone(), problem });
    }
    let lower = if origin.rank() < other.rank() { short } else { url };
    given.remove(lower);
    Ok(())
}
