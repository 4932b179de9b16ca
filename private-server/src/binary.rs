//! Chooses the server to run, and finds out whether it supports TLS.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{Error, install};

/// The variable that names the server to run.
const VARIABLE: &str = "REDIS_SERVER";

/// The server that is started if the builder does not name one: `REDIS_SERVER`, else `valkey-server`, else
/// `redis-server` on the search path.
///
/// # Errors
///
/// [`Error::NotExecutable`] if `REDIS_SERVER` is set and wrong: a wrong value is never ignored.
/// [`Error::NotInstalled`] if no server is found.
pub fn find_server() -> Result<PathBuf, Error> {
    Place::of_this_process().find()
}

/// The first server that supports TLS, of `REDIS_SERVER`, `valkey-server`, `redis-server` and
/// `/usr/bin/redis-server`.
///
/// Runs each of them for a few milliseconds to find out, and blocks this thread meanwhile.
///
/// # Errors
///
/// [`Error::NoTls`] if none of them supports TLS.
pub fn find_tls_capable() -> Result<PathBuf, Error> {
    let mut tried = Place::of_this_process().candidates();
    tried.push(PathBuf::from("/usr/bin/redis-server"));
    tried.retain(|path| why_not_executable(path).is_none());
    tried.dedup();
    match tried.iter().find(|path| matches!(supports_tls(path), Ok(true))) {
        Some(path) => Ok(path.clone()),
        None => Err(Error::NoTls { tried, install: install::hint() }),
    }
}

/// Whether this server was built with TLS.
///
/// `--version` does not say, so this starts the server with a certificate that does not exist and reads the error.
/// The server ends before it listens on any port. This blocks the thread for a few milliseconds.
///
/// # Errors
///
/// [`Error::Run`] if the file cannot be run, [`Error::NotAServer`] if it is not a Redis or Valkey server.
pub fn supports_tls(binary: &Path) -> Result<bool, Error> {
    const TRIAL: &[u8] = b"port 0\ntls-port 1\nbind 127.0.0.1\nsave \"\"\nloglevel notice\n\
        tls-cert-file /nonexistent/certificate\ntls-key-file /nonexistent/key\n";
    version(binary)?;
    let refused = |source| Error::Run { path: binary.to_owned(), source };
    // "-" reads the configuration from stdin, so there is no file to remove.
    let mut trial = Command::new(binary)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(refused)?;
    if let Some(mut stdin) = trial.stdin.take() {
        // If the server ends without reading, its output decides.
        let _ = stdin.write_all(TRIAL);
    }
    let output = trial.wait_with_output().map_err(refused)?;
    // Without TLS: "Bad directive" (Redis 7), "Failed finding TLS support" (Valkey 9).
    Ok(String::from_utf8_lossy(&output.stdout).contains("Failed to configure TLS"))
}

/// Name and version, as in "Valkey 9.1.2".
pub(crate) fn version(binary: &Path) -> Result<String, Error> {
    let output = Command::new(binary)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::Run { path: binary.to_owned(), source })?;
    let answer = String::from_utf8_lossy(&output.stdout);
    let answer = answer.lines().next().unwrap_or_default();
    parse_version(answer)
        .ok_or_else(|| Error::NotAServer { path: binary.to_owned(), answer: answer.to_owned() })
}

/// The path that was given to the builder, made absolute and checked. A bare name is looked up as a shell does it.
pub(crate) fn named_by_the_builder(name: &Path) -> Result<PathBuf, Error> {
    Place::of_this_process().named("the builder", name.as_os_str())
}

/// Where to look for servers. Read from the environment once, so that tests can pass their own.
struct Place {
    variable: Option<OsString>,
    search_path: Option<OsString>,
}

impl Place {
    fn of_this_process() -> Self {
        Self { variable: env::var_os(VARIABLE), search_path: env::var_os("PATH") }
    }

    fn find(&self) -> Result<PathBuf, Error> {
        match &self.variable {
            Some(name) if !name.is_empty() => self.named(VARIABLE, name),
            _ => self
                .candidates()
                .into_iter()
                .next()
                .ok_or_else(|| Error::NotInstalled { install: install::hint() }),
        }
    }

    fn named(&self, named_by: &'static str, name: &OsStr) -> Result<PathBuf, Error> {
        let path = self.look_up(name).unwrap_or_else(|| absolute(Path::new(name)));
        match why_not_executable(&path) {
            None => Ok(path),
            Some(why) => Err(Error::NotExecutable { named_by, path, why, install: install::hint() }),
        }
    }

    /// All candidates, the best first.
    fn candidates(&self) -> Vec<PathBuf> {
        let named = self.variable.iter().filter(|name| !name.is_empty());
        let named = named.map(|name| self.look_up(name).unwrap_or_else(|| absolute(Path::new(name))));
        let usual = ["valkey-server", "redis-server"].into_iter();
        named.chain(usual.filter_map(|name| self.look_up(OsStr::new(name)))).collect()
    }

    fn look_up(&self, name: &OsStr) -> Option<PathBuf> {
        if Path::new(name).components().count() != 1 {
            return None;
        }
        env::split_paths(self.search_path.as_ref()?)
            .map(|folder| absolute(&folder.join(name)))
            .find(|path| why_not_executable(path).is_none())
    }
}

/// Absolute, because the server runs in another folder. Links are kept: Debian's `redis-server` is a link to
/// a program that reads its own name to know its role.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn why_not_executable(path: &Path) -> Option<&'static str> {
    match fs::metadata(path) {
        Err(_) => Some("does not exist"),
        Ok(found) if !found.is_file() => Some("is not a file"),
        Ok(found) if found.permissions().mode() & 0o111 == 0 => Some("is not executable"),
        Ok(_) => None,
    }
}

/// Parses "Redis server v=7.0.15 sha=00000000:0 malloc=…".
fn parse_version(answer: &str) -> Option<String> {
    let (name, rest) = answer.split_once(" server v=")?;
    let number = rest.split_whitespace().next()?;
    Some(format!("{name} {number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn executable(folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn place(variable: Option<&Path>, search_path: &Path) -> Place {
        Place { variable: variable.map(Into::into), search_path: Some(search_path.into()) }
    }

    #[test]
    fn valkey_is_preferred_to_redis_and_the_variable_to_both() {
        let folder = tempfile::tempdir().unwrap();
        let redis = executable(folder.path(), "redis-server");
        assert_eq!(place(None, folder.path()).find().unwrap(), redis);
        let valkey = executable(folder.path(), "valkey-server");
        assert_eq!(place(None, folder.path()).find().unwrap(), valkey);
        assert_eq!(place(Some(&redis), folder.path()).find().unwrap(), redis);
        assert_eq!(place(Some(Path::new("redis-server")), folder.path()).find().unwrap(), redis);
        assert_eq!(place(Some(Path::new("")), folder.path()).find().unwrap(), valkey);
    }

    #[test]
    fn a_missing_server_is_an_error_that_says_how_to_install_one() {
        let folder = tempfile::tempdir().unwrap();
        let error = place(None, folder.path()).find().unwrap_err();
        assert!(matches!(error, Error::NotInstalled { .. }));
        let text = error.to_string();
        assert!(text.contains("install"), "{text}");
        assert!(text.ends_with("set REDIS_SERVER=/path/to/redis-server"), "{text}");
    }

    #[test]
    fn a_wrong_variable_is_an_error_even_if_another_server_is_installed() {
        let folder = tempfile::tempdir().unwrap();
        executable(folder.path(), "redis-server");
        let missing = folder.path().join("gone");
        let text = place(Some(&missing), folder.path()).find().unwrap_err().to_string();
        assert!(text.starts_with("REDIS_SERVER names ") && text.contains("does not exist"), "{text}");

        let plain = folder.path().join("plain");
        fs::write(&plain, "").unwrap();
        let text = place(Some(&plain), folder.path()).find().unwrap_err().to_string();
        assert!(text.contains("is not executable"), "{text}");
        let text = place(Some(folder.path()), folder.path()).find().unwrap_err().to_string();
        assert!(text.contains("is not a file"), "{text}");
    }

    #[test]
    fn the_version_is_read_from_what_both_servers_print() {
        let redis =
            "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=ae4d7c971a948f0";
        assert_eq!(parse_version(redis).as_deref(), Some("Redis 7.0.15"));
        let valkey = "Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64 build=1536df31c0395150";
        assert_eq!(parse_version(valkey).as_deref(), Some("Valkey 9.1.2"));
        assert_eq!(parse_version("cat (GNU coreutils) 9.1"), None);
    }
}
