//! The file given with `--config`.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use redis_consumer_group::Error;
use toml::{Spanned, Value};

use super::error::{OptionError, Origin};
use super::names::did_you_mean;
use super::option::Opt;

/// The texts of a file, each with its line.
#[derive(Debug, Default)]
pub(crate) struct File {
    path: PathBuf,
    values: BTreeMap<String, (String, usize)>,
}

impl File {
    /// Reads a file. Every key in it must be the name of an option.
    ///
    /// # Errors
    /// When it cannot be read, is not TOML, or has an unknown key.
    pub(super) fn read(path: &Path, options: &[&Opt]) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).map_err(|source| Error::File {
            option: "config",
            path: path.to_owned(),
            source,
        })?;
        Ok(Self::parse(path, &text, options)?)
    }

    pub(super) fn get(&self, option: &Opt) -> Option<(String, Origin)> {
        let (text, line) = self.values.get(option.name)?;
        let key = option.name.to_owned();
        Some((text.clone(), Origin::File { path: self.path.clone(), line: *line, key }))
    }

    fn parse(path: &Path, text: &str, options: &[&Opt]) -> Result<Self, OptionError> {
        let line =
            |span: Range<usize>| 1 + text.bytes().take(span.start).filter(|byte| *byte == b'\n').count();
        let wrong = |line, key: &str, problem| OptionError {
            origin: Origin::File { path: path.to_owned(), line, key: key.to_owned() },
            problem,
        };
        // The error's own `Display` would show the line, and with it a password.
        let table: BTreeMap<Spanned<String>, Value> = toml::from_str(text).map_err(|error| {
            let problem = format!("{}; see https://toml.io for the syntax", error.message());
            wrong(line(error.span().unwrap_or_default()), "", problem)
        })?;
        let mut values = BTreeMap::new();
        for (key, value) in table {
            let line = line(key.span());
            let key = key.into_inner();
            let known = || options.iter().filter(|option| option.in_file).map(|option| option.name);
            if !known().any(|name| name == key) {
                let hint = did_you_mean(&key, known());
                return Err(wrong(line, &key, format!("unknown option; {hint}")));
            }
            let text = match value {
                Value::String(text) => text,
                Value::Integer(number) => number.to_string(),
                Value::Boolean(switch) => switch.to_string(),
                other => {
                    let problem = format!(
                        "no option takes a value of type {}; use a string, an integer, true or false",
                        other.type_str()
                    );
                    return Err(wrong(line, &key, problem));
                }
            };
            values.insert(key, (text, line));
        }
        Ok(Self { path: path.to_owned(), values })
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::RUN;
    use super::*;

    fn parsed(text: &str) -> Result<File, String> {
        let options: Vec<_> = RUN.iter().flat_map(|group| group.options).collect();
        File::parse(Path::new("group.toml"), text, &options).map_err(|error| error.to_string())
    }

    #[test]
    fn strings_integers_and_switches_are_values() {
        let file = parsed("consumers = 1_000\n\njson = true\nbuffer = \"64KiB\"\n").unwrap();
        let texts: Vec<_> = file.values.iter().map(|(key, (text, line))| (&**key, &**text, *line)).collect();
        assert_eq!(texts, [("buffer", "64KiB", 4), ("consumers", "1000", 1), ("json", "true", 3)]);
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_line_and_the_nearest_name() {
        let error = parsed("# ours\nconsumers = 3\nreport_every = \"1s\"\n").unwrap_err();
        assert_eq!(error, "group.toml, line 3: report_every: unknown option; did you mean report-every?");
        assert!(parsed("config = 'other.toml'").is_err());
        assert!(parsed("[run]\nconsumers = 3").unwrap_err().starts_with("group.toml, line 1: run: "));
    }

    #[test]
    fn invalid_toml_is_reported_with_its_line_but_not_its_text() {
        let error = parsed("consumers = 3\nurl = redis://:hush@localhost\n").unwrap_err();
        assert!(error.starts_with("group.toml, line 2: "), "{error}");
        assert!(!error.contains("hush"), "{error}");
    }

    #[test]
    fn a_value_of_a_type_that_no_option_takes_is_refused() {
        let error = parsed("consumers = [3]").unwrap_err();
        assert!(error.contains("of type array"), "{error}");
    }
}
