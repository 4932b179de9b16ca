//! The values of all options, checked together.

use std::path::PathBuf;
use std::time::Duration;

use redis_consumer_group::{Config, Error, PasswordFile, SourceKind};
use tracing_subscriber::filter::{LevelFilter, Targets};

use super::effect::{why_not, without_effect};
use super::error::{OptionError, Origin};
use super::layers::{Given, Layers};
use super::option::Group;

/// The values of all options.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    /// The configuration of the library.
    pub(crate) config: Config,
    /// The file with the password, until the address has it.
    pub(super) password_file: Option<PathBuf>,
    pub(crate) report_every: Duration,
    pub(crate) json: bool,
    pub(crate) log: Log,
    /// Warnings about values that are ignored.
    pub(crate) warnings: Vec<String>,
}

/// Level and format of the log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Log {
    pub(crate) filter: Targets,
    /// Errors only, regardless of the filter.
    pub(crate) quiet: bool,
    pub(crate) format: LogFormat,
}

/// The format of a line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl Log {
    /// The filter that applies.
    pub(crate) fn effective(&self) -> Targets {
        if self.quiet { Targets::new().with_default(LevelFilter::WARN) } else { self.filter.clone() }
    }
}

impl Settings {
    /// Reads and checks the options of these groups. The others keep their defaults.
    ///
    /// # Errors
    /// When a value cannot be used, with its origin.
    pub(crate) fn read(layers: &Layers, groups: &'static [Group]) -> anyhow::Result<Self> {
        Self::read_and(layers, groups, |_| ())
    }

    /// Like [`Settings::read`], but completes the configuration before it is checked.
    ///
    /// # Errors
    /// As [`Settings::read`].
    pub(crate) fn read_and(
        layers: &Layers,
        groups: &'static [Group],
        complete: impl Fn(&mut Config),
    ) -> anyhow::Result<Self> {
        let given = layers.given(groups)?;
        let mut settings = Self::set(&given)?;
        complete(&mut settings.config);
        if let Err(error) = check(&settings.config, groups) {
            return Err(blame(&given, groups, complete, error));
        }
        settings.warnings.splice(..0, layers.warnings());
        if has_source(groups) {
            settings.warnings.extend(without_effect(&given, &settings));
            // The group would warn of them once more.
            let with_effect = given.iter().filter(|given| why_not(given, &settings).is_none());
            settings.config = Self::set(with_effect)?.config;
        }
        if let Some(path) = &settings.password_file {
            let file = PasswordFile::new(path);
            // The file is read again at every connect. Read it now to report an error at once.
            file.read()?;
            settings.config.address = settings.config.address.with_credentials(file);
        }
        Ok(settings)
    }

    fn set<'a>(given: impl IntoIterator<Item = &'a Given>) -> Result<Self, OptionError> {
        let mut settings = Self::default();
        for Given { option, text, origin } in given {
            if let (Origin::Fallback(name), Some(set)) = (origin, option.foreign) {
                if let Err(problem) = set(&mut settings, text) {
                    settings.warnings.push(format!("{name} is ignored: {problem}"));
                }
                continue;
            }
            let refused = |problem| OptionError { origin: origin.clone(), problem };
            option.apply(&mut settings, text).map_err(refused)?;
        }
        Ok(settings)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            config: Config::default(),
            password_file: None,
            report_every: Duration::from_secs(3),
            json: false,
            log: Log {
                filter: Targets::new().with_default(LevelFilter::INFO),
                quiet: false,
                format: LogFormat::Text,
            },
            warnings: Vec::new(),
        }
    }
}

/// Checks the values together. Where the source is not known, shards may be of any source and do not divide a buffer.
fn check(config: &Config, groups: &[Group]) -> Result<(), Error> {
    let knows_source = has_source(groups) || config.source != SourceKind::default();
    match &config.shards {
        Some(shards) if !knows_source => {
            shards.validate([("ids-key", config.ids_key.as_str())])?;
            let mut config = config.clone();
            config.shards = None;
            config.validate()
        }
        _ => config.validate(),
    }
}

/// Whether the groups have the option `source`, which decides what other options have an effect.
fn has_source(groups: &[Group]) -> bool {
    groups.iter().flat_map(|group| group.options).any(|option| option.name == "source")
}

/// Finds the option that caused an error of the library: the option that it names or, if that one has its default, the
/// option without which the error would differ.
fn blame(given: &[Given], groups: &[Group], complete: impl Fn(&mut Config), error: Error) -> anyhow::Error {
    let Error::Config { option: named, problem } = &error else { return error.into() };
    let without = |left_out: &&Given| {
        let others = given.iter().filter(|other| other.option.name != left_out.option.name);
        let outcome = Settings::set(others).map(|Settings { mut config, .. }| {
            complete(&mut config);
            check(&config, groups)
        });
        !matches!(outcome, Ok(Err(same)) if same.to_string() == error.to_string())
    };
    // Of several, take the last: later options have to fit earlier ones, such as the source.
    match given.iter().find(|given| given.option.name == *named).or_else(|| given.iter().rfind(without)) {
        Some(Given { option, origin, .. }) => {
            let problem = if option.name == *named { problem.clone() } else { format!("{named}: {problem}") };
            OptionError { origin: origin.clone(), problem }.into()
        }
        None => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::RUN;
    use super::super::variables::Variables;
    use super::*;

    fn read(flags: &[(&'static str, &str)], variables: &[(&str, &str)]) -> Result<Settings, String> {
        let flags = flags.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
        let variables: Variables = variables.iter().map(|(name, text)| (*name, *text)).collect();
        let layers = Layers::new(flags, variables).map_err(|error| error.to_string())?;
        Settings::read(&layers, RUN).map_err(|error| error.to_string())
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, text).unwrap();
        file
    }

    #[test]
    fn a_flag_beats_a_variable_and_a_variable_beats_the_file() {
        let file = file("consumers = 1\ninput = 'from-file'\noutput = 'from-file'\n");
        let variables = [
            ("RCG_CONFIG", file.path().to_str().unwrap()),
            ("RCG_CONSUMERS", "2"),
            ("RCG_INPUT", "from-variable"),
        ];
        let config = read(&[("consumers", "4")], &variables).unwrap().config;
        assert_eq!((config.consumers, &*config.input, &*config.output), (4, "from-variable", "from-file"));
    }

    #[test]
    fn redis_url_counts_where_our_own_variable_is_not_set() {
        let shown = |variables: &[_]| read(&[], variables).unwrap().config.address.to_string();
        assert_eq!(shown(&[("REDIS_URL", "redis://other:1")]), "redis://other:1");
        assert_eq!(
            shown(&[("REDIS_URL", "redis://other:1"), ("RCG_URL", "redis://ours:2")]),
            "redis://ours:2"
        );
        assert_eq!(
            shown(&[("REDIS_URL", "redis://other:1"), ("RCG_REDIS_ADDR", "ours:2")]),
            "redis://ours:2"
        );
        assert_eq!(shown(&[("REDIS_URL", "redis://other:1"), ("RCG_URL", "")]), "redis://other:1");
    }

    #[test]
    fn rust_log_is_for_other_programs_too_and_never_an_error() {
        let default = Settings::default().log.filter;
        for (text, kept) in [
            ("debug", false),
            ("info,redis_consumer_group=debug", false),
            ("redis=debug", false),
            ("myapp", true),
            ("myapp=debug,other", true),
            ("myapp[span]=debug", true),
        ] {
            let settings = read(&[], &[("RUST_LOG", text)]).unwrap();
            assert_eq!(settings.log.filter == default, kept, "{text}");
            assert_eq!(settings.warnings, [""; 0], "{text}");
        }
        let settings = read(&[], &[("RUST_LOG", "myapp=verbose")]).unwrap();
        assert_eq!(settings.log.filter, default);
        assert!(settings.warnings[0].starts_with("RUST_LOG is ignored: "), "{:?}", settings.warnings);
        assert!(read(&[], &[("RCG_LOG", "myapp")]).is_err());
        assert!(read(&[], &[("RCG_LOG", "debug"), ("RUST_LOG", "a=b=c")]).unwrap().warnings.is_empty());
    }

    #[test]
    fn the_higher_layers_form_of_the_address_counts_and_the_lower_ones_password_is_not_taken_along() {
        let variables = [("RCG_URL", "redis://u:hush@secret:1")];
        let address = read(&[("redis-addr", "here:2")], &variables).unwrap().config.address;
        assert_eq!((address.to_string().as_str(), address.has_password()), ("redis://here:2", false));
        let address = read(&[("url", "redis://here:3")], &[("RCG_REDIS_ADDR", "there:4")]).unwrap();
        assert_eq!(address.config.address.to_string(), "redis://here:3");
    }

    #[test]
    fn one_layer_names_the_server_once() {
        let error = read(&[("url", "redis://a:1"), ("redis-addr", "b:2")], &[]).unwrap_err();
        assert_eq!(error, "--redis-addr: the server is already given by --url; use one of the two");
        let error = read(&[], &[("RCG_URL", "redis://a:1"), ("RCG_REDIS_ADDR", "b:2")]).unwrap_err();
        assert!(error.starts_with("RCG_REDIS_ADDR: the server is already given by RCG_URL"), "{error}");
    }

    #[test]
    fn a_refusal_of_the_library_is_told_with_where_the_value_came_from() {
        let error = read(&[("consumers", "0")], &[]).unwrap_err();
        assert!(error.starts_with("--consumers: 0 consumers is out of range"), "{error}");
        let error = read(&[("json", "true")], &[("RCG_BUFFER", "64KiB")]).unwrap_err();
        assert!(error.starts_with("RCG_BUFFER: max-payload: a payload of"), "{error}");
        let error = read(&[("tls-key", "key.pem")], &[]).unwrap_err();
        assert!(error.starts_with("--tls-key: tls-cert: a certificate and its key"), "{error}");
    }

    #[test]
    fn an_unusable_password_file_is_reported_at_once() {
        let read = |path: &str| read(&[("password-file", path)], &[]);
        let path = file("hush");
        assert!(read(path.path().to_str().unwrap()).unwrap().config.address.has_password());
        let path = file("\n");
        assert!(read(path.path().to_str().unwrap()).unwrap_err().contains("is empty"));
        assert!(read("/nowhere").unwrap_err().contains("cannot read /nowhere"));
    }
}
