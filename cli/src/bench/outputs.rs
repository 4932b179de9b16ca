//! Where a report goes, and in which forms. Files are opened before the long measurement, and written after it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::bail;

use super::args::BenchArgs;
use super::output;
use super::report::Report;
use crate::exit::{self, Coded};

/// A report as text.
type Form = fn(&Report) -> anyhow::Result<String>;

/// One form for stdout, and any number of files.
pub(crate) struct Outputs {
    stdout: Form,
    files: Vec<(Form, Destination)>,
}

/// A file that can be written. Its old content stays until then.
struct Destination {
    option: &'static str,
    path: PathBuf,
    file: File,
}

impl Outputs {
    /// Makes sure that all files can be written.
    ///
    /// # Errors
    /// If one cannot, if two forms go to stdout, or if two go to one file.
    pub(crate) fn open(args: &BenchArgs) -> anyhow::Result<Self> {
        let forms: [(&'static str, _, Form); 4] = [
            ("json", &args.json, |report| Ok(output::json(report))),
            ("csv", &args.csv, |report| Ok(output::csv(report))),
            ("markdown", &args.markdown, |report| Ok(output::markdown(report))),
            ("plot", &args.plot, output::plot),
        ];
        let mut given: Vec<(_, &PathBuf, _)> = Vec::new();
        for (option, path, form) in forms {
            let Some(path) = path else { continue };
            if let Some((other, ..)) = given.iter().find(|(_, other, _)| *other == path) {
                let place =
                    if path == Path::new("-") { "stdout".to_owned() } else { path.display().to_string() };
                let text = format!(
                    "--{other} and --{option} both go to {place}: give one another file, like --{option}=FILE"
                );
                bail!(Coded { code: exit::USAGE, text });
            }
            given.push((option, path, form));
        }
        let mut outputs = Self { stdout: |report| Ok(output::table(report)), files: Vec::new() };
        for (option, path, form) in given {
            if path == Path::new("-") {
                outputs.stdout = form;
            } else {
                outputs.files.push((form, Destination::open(option, path)?));
            }
        }
        Ok(outputs)
    }

    /// Writes all files that can be written. Returns the text for stdout as well.
    pub(crate) fn write(self, report: &Report) -> (anyhow::Result<String>, anyhow::Result<()>) {
        let mut written = Ok(());
        for (form, destination) in self.files {
            written = written.and(form(report).and_then(|text| Ok(destination.write(&text)?)));
        }
        ((self.stdout)(report), written)
    }
}

impl Destination {
    fn open(option: &'static str, path: &Path) -> Result<Self, Coded> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|error| unwritable(option, path, &error))?;
        Ok(Self { option, path: path.to_owned(), file })
    }

    fn write(mut self, text: &str) -> Result<(), Coded> {
        // A device or a pipe has no length.
        let emptied = match self.file.metadata() {
            Ok(about) if about.is_file() => self.file.set_len(0),
            _ => Ok(()),
        };
        let written = emptied.and_then(|()| self.file.write_all(text.as_bytes()));
        written.map_err(|error| unwritable(self.option, &self.path, &error))
    }
}

fn unwritable(option: &str, path: &Path, error: &io::Error) -> Coded {
    let text =
        format!("--{option}: cannot write {}: {error}; check the path and its permissions", path.display());
    Coded { code: exit::CONFIGURATION, text }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_keeps_its_content_until_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        fs::write(&path, "the earlier report").unwrap();
        let destination = Destination::open("json", &path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "the earlier report");
        destination.write("now").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "now");
        Destination::open("csv", Path::new("/dev/null")).unwrap().write("gone").unwrap();
    }

    #[test]
    fn a_path_that_cannot_be_written_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().to_owned(), folder.path().join("no/folder/report.svg")] {
            let refused = Destination::open("plot", &path).err().unwrap();
            assert!(refused.text.starts_with("--plot: cannot write "), "{}", refused.text);
        }
    }
}
