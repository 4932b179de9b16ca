//! In which forms a report goes where.

use std::path::Path;

use anyhow::bail;

use super::args::BenchArgs;
use super::files::Destination;
use super::output;
use super::report::Report;
use crate::exit::{self, Coded};

/// A report as text.
type Form = fn(&Report) -> String;

/// What becomes of the report: a text for stdout, and files.
pub(crate) struct Outputs {
    stdout: Form,
    files: Vec<(Form, Destination)>,
    plot: Option<Destination>,
}

impl Outputs {
    /// Makes sure that all of them can be written.
    ///
    /// # Errors
    /// When one of them cannot, or two shall go to stdout.
    pub(crate) fn open(args: &BenchArgs) -> anyhow::Result<Self> {
        let forms: [(_, _, Form); 3] = [
            ("json", &args.json, output::json),
            ("csv", &args.csv, output::csv),
            ("markdown", &args.markdown, output::markdown),
        ];
        let mut stdout: Option<(&str, Form)> = None;
        let mut files = Vec::new();
        for (option, path, form) in forms {
            match (path, stdout) {
                (None, _) => {}
                (Some(path), None) if path == Path::new("-") => stdout = Some((option, form)),
                (Some(path), Some((other, _))) if path == Path::new("-") => {
                    let text = format!(
                        "--{other} and --{option} both go to stdout: give one a file, like --{option}=FILE"
                    );
                    bail!(Coded { code: exit::USAGE, text });
                }
                (Some(path), _) => files.push((form, Destination::open(option, path)?)),
            }
        }
        let paths = [&args.json, &args.csv, &args.markdown, &args.plot].into_iter().flatten();
        let mut files_named: Vec<_> = paths.filter(|path| **path != Path::new("-")).collect();
        files_named.sort_unstable();
        if let Some(twice) = files_named.windows(2).find(|pair| pair[0] == pair[1]) {
            let text = format!("{} is named twice: give each report a file of its own", twice[0].display());
            bail!(Coded { code: exit::USAGE, text });
        }
        let plot = args.plot.as_deref().map(|path| Destination::open("plot", path)).transpose()?;
        Ok(Self { stdout: stdout.map_or(output::table as Form, |(_, form)| form), files, plot })
    }

    /// Writes the files, all that can be written. Returns what belongs on stdout beside that.
    ///
    /// # Errors
    /// When a file cannot be written after all.
    pub(crate) fn write(self, report: &Report) -> (String, anyhow::Result<()>) {
        let mut written = Ok(());
        for (form, destination) in self.files {
            written = written.and(destination.write(&form(report)).map_err(anyhow::Error::from));
        }
        if let Some(destination) = self.plot {
            let plotted = output::plot(report).and_then(|plot| Ok(destination.write(&plot)?));
            written = written.and(plotted);
        }
        ((self.stdout)(report), written)
    }
}
