//! The server's configuration file.

use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use crate::Error;

/// The options that the builder collected, without the port, which is known last.
#[derive(Default)]
pub(crate) struct Config {
    /// Names and values as in `redis.conf`, in the order they were given.
    pub(crate) options: Vec<(String, String)>,
    pub(crate) password: Option<String>,
    /// The text after `user` in an ACL file.
    pub(crate) users: Vec<String>,
    /// The lines for certificates. If there are any, the port speaks TLS only.
    pub(crate) tls: Option<Vec<String>>,
}

impl Config {
    /// Refuses options that would not be one line of the file, and options that the private server sets itself.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let refuse = |name: &str, why| Err(Error::Option { name: name.to_owned(), why });
        for (name, value) in &self.options {
            if let Some(why) = reserved(name) {
                return refuse(name, why);
            }
            if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#') {
                return refuse(name, "is not the name of an option");
            }
            if value.contains(['\n', '\r', '\0']) {
                return refuse(name, "has a value of more than one line");
            }
        }
        if self.users.iter().any(|user| user.contains(['\n', '\r', '\0'])) {
            return refuse("user", "has a value of more than one line");
        }
        Ok(())
    }

    /// Writes the file, readable only by its owner.
    pub(crate) fn write(&self, path: &Path, folder: &Path, socket: &Path, port: u16) -> Result<(), Error> {
        let failed = || Error::io(format!("write {}", path.display()));
        let mut options = OpenOptions::new();
        options.create(true).truncate(true).write(true).mode(0o600);
        let mut file = options.open(path).map_err(failed())?;
        file.write_all(self.text(folder, socket, port).as_bytes()).map_err(failed())
    }

    /// All texts that must not appear in an error, in every form in which the server may quote them.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let mut secrets: Vec<String> = self.password.iter().cloned().collect();
        let is_secret = |name: &str| name.ends_with("auth") || name.ends_with("pass");
        let values = self.options.iter().filter(|(name, _)| is_secret(name));
        secrets.extend(values.map(|(_, value)| value.clone()));
        // Sentinels get passwords in this form: "auth-pass mymaster PASSWORD".
        let of_sentinels = self.options.iter().filter(|(name, _)| name == "sentinel");
        secrets.extend(of_sentinels.filter_map(|(_, value)| {
            let (_, password) = value.strip_prefix("auth-pass ")?.split_once(' ')?;
            Some(password.trim_matches('"').to_owned())
        }));
        for word in self.users.iter().flat_map(|user| user.split_whitespace()) {
            secrets.extend(word.strip_prefix(['>', '<', '#', '!']).map(str::to_owned));
        }
        let quoted: Vec<_> =
            secrets.iter().map(|secret| quote(secret).trim_matches('"').to_owned()).collect();
        secrets.extend(quoted);
        secrets.retain(|secret| !secret.is_empty());
        // The longest first, because a secret may contain another one.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        secrets
    }

    fn text(&self, folder: &Path, socket: &Path, port: u16) -> String {
        let path = |path: &Path| quote(&path.to_string_lossy());
        let mut lines = vec![
            "daemonize no".to_owned(),
            "bind 127.0.0.1".to_owned(),
            format!("dir {}", path(folder)),
            format!("unixsocket {}", path(socket)),
            "unixsocketperm 700".to_owned(),
            "save \"\"".to_owned(),
            "appendonly no".to_owned(),
        ];
        match &self.tls {
            None => lines.push(format!("port {port}")),
            Some(tls) => {
                lines.extend(["port 0".to_owned(), format!("tls-port {port}")]);
                lines.extend(tls.iter().cloned());
            }
        }
        lines.extend(self.password.iter().map(|password| format!("requirepass {}", quote(password))));
        lines.extend(self.users.iter().map(|user| format!("user {user}")));
        // The user's options come last, because the last line with a name counts.
        lines.extend(self.options.iter().map(|(name, value)| match value.trim() {
            "" => format!("{name} \"\""),
            value => format!("{name} {value}"),
        }));
        lines.push(String::new());
        lines.join("\n")
    }
}

/// Quotes a string for the configuration file: in double quotes, with the escapes of `sdssplitargs` in
/// `sds.c` of Redis.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => quoted.extend(['\\', char::from(byte)]),
            b' '..=b'~' => quoted.push(char::from(byte)),
            _ => quoted.push_str(&format!("\\x{byte:02x}")),
        }
    }
    quoted.push('"');
    quoted
}

fn reserved(name: &str) -> Option<&'static str> {
    match name.to_ascii_lowercase().as_str() {
        "port" | "tls-port" | "unixsocket" | "dir" | "daemonize" | "logfile" | "pidfile" | "supervised" => {
            Some("is decided by the private server")
        }
        "requirepass" => Some("is set with Builder::password"),
        "user" | "aclfile" => Some("is set with Builder::acl_user"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn text(config: &Config) -> String {
        config.text(Path::new("/f"), Path::new("/f/s"), 10_000)
    }

    #[test]
    fn an_option_comes_after_the_defaults_and_an_empty_value_is_quoted() {
        let options = vec![("appendonly".to_owned(), "yes".to_owned()), ("save".to_owned(), String::new())];
        let text = text(&Config { options, ..Config::default() });
        assert!(text.ends_with("appendonly yes\nsave \"\"\n"), "{text}");
    }

    #[test]
    fn an_option_cannot_add_a_second_line() {
        for (name, value) in [("maxmemory", "1\nport 1"), ("max memory", "1"), ("", "1"), ("port", "1")] {
            let options = vec![(name.to_owned(), value.to_owned())];
            let config = Config { options, ..Config::default() };
            assert!(matches!(config.validate(), Err(Error::Option { .. })), "{name:?} {value:?}");
        }
        let config = Config { users: vec!["a on\nuser b on".to_owned()], ..Config::default() };
        assert!(config.validate().is_err());
    }

    #[test]
    fn a_password_may_contain_anything() {
        assert_eq!(quote("a b\"c\\d\né"), r#""a b\"c\\d\x0a\xc3\xa9""#);
    }

    #[test]
    fn every_spelling_of_a_password_is_a_secret() {
        let config = Config {
            password: Some("a\"b".to_owned()),
            users: vec!["alice on >wonder ~* +@all".to_owned()],
            options: vec![("masterauth".to_owned(), "link".to_owned())],
            tls: None,
        };
        let secrets = config.secrets();
        for secret in ["a\"b", "a\\\"b", "wonder", "link"] {
            assert!(secrets.iter().any(|known| known == secret), "{secret} is not in {secrets:?}");
        }
    }

    #[test]
    fn only_the_owner_can_read_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.conf");
        Config::default().write(&path, folder.path(), &folder.path().join("s"), 10_000).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
