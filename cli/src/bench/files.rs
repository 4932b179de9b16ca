//! Where a report goes: files that are opened before the long run, and written as a whole after it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::exit::{self, Coded};

/// A file that is to be written. Dropped before that, nothing has changed.
pub(crate) struct Destination {
    option: &'static str,
    path: PathBuf,
    kind: Kind,
}

enum Kind {
    /// Takes the place of the file when it is complete.
    Whole(NamedTempFile),
    /// A device or a pipe, whose place nothing may take.
    Open(File),
}

impl Destination {
    /// Makes sure that the file can be written.
    ///
    /// # Errors
    /// When it cannot, with the name of the option.
    pub(crate) fn open(option: &'static str, path: &Path) -> Result<Self, Coded> {
        let kind = Kind::open(path).map_err(|error| unwritable(option, path, &error))?;
        Ok(Self { option, path: path.to_owned(), kind })
    }

    pub(crate) fn write(self, text: &str) -> Result<(), Coded> {
        let Self { option, path, kind } = self;
        let written = match kind {
            Kind::Open(mut file) => file.write_all(text.as_bytes()),
            Kind::Whole(mut file) => file
                .write_all(text.as_bytes())
                .and_then(|()| file.persist(resolved(&path)).map(drop).map_err(|error| error.error)),
        };
        written.map_err(|error| unwritable(option, &path, &error))
    }
}

impl Kind {
    fn open(path: &Path) -> io::Result<Self> {
        if let Ok(there) = fs::metadata(path) {
            let file = OpenOptions::new().write(true).open(path)?;
            if !there.is_file() {
                return Ok(Self::Open(file));
            }
        }
        let path = resolved(path);
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        // As any new file; the user's mask takes from it what it always takes.
        builder.prefix(".bench-").permissions(Permissions::from_mode(0o666));
        Ok(Self::Whole(builder.tempfile_in(folder)?))
    }
}

/// The file itself, where the path is a link to it.
fn resolved(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn unwritable(option: &str, path: &Path, error: &io::Error) -> Coded {
    let text =
        format!("--{option}: cannot write {}: {error}; check the path and its permissions", path.display());
    Coded { code: exit::CONFIGURATION, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        fs::write(&path, "earlier").unwrap();
        drop(Destination::open("json", &path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "earlier");
        Destination::open("json", &path).unwrap().write("now").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "now");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_still_is_one_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        Destination::open("csv", &link).unwrap().write("now").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "now");
    }

    #[test]
    fn a_device_stays_one() {
        Destination::open("csv", Path::new("/dev/null")).unwrap().write("gone").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn what_cannot_be_written_is_known_at_once() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().to_owned(), folder.path().join("no/folder/report.svg")] {
            let refused = Destination::open("plot", &path).err().unwrap();
            assert!(refused.text.starts_with("--plot: cannot write "), "{}", refused.text);
        }
    }
}
