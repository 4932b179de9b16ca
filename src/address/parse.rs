//! Reads an address from its URL.
//!
//! No error repeats more of the URL than its scheme: after an unescaped character, any part may be the rest of a
//! password.

use std::path::Path;
use std::str::FromStr;

use url::{Host, Url};

use super::{Address, AddressError, Endpoint, Password, Secret, sentinels};

impl Address {
    /// An address from the short form `HOST:PORT` (or `HOST`, which means port 6379).
    ///
    /// # Errors
    /// When the host is not valid, or the port is not a number from 1 to 65535.
    pub fn from_host_and_port(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() || text.contains(['/', '@', '?', '#']) {
            return Err(AddressError {
                problem: "the address is not of the form HOST:PORT".to_owned(),
                try_next: "write it like localhost:6379, or use a URL for everything else",
            });
        }
        format!("redis://{text}").parse()
    }

    fn tcp(url: &Url, tls: bool) -> Result<Self, AddressError> {
        // An unescaped `?` or `#` in a password leaves this: the parsed host would be the user's name.
        if url.query().is_some() || url.fragment().is_some() {
            return Err(AddressError {
                problem: "the URL has a part after ? or #".to_owned(),
                try_next: "leave it out, and percent-encode these characters in the password",
            });
        }
        let (host, port) = (host(url)?, port(url, 6379)?);
        let database = match url.path().trim_matches('/') {
            "" => 0,
            path => database(path)?,
        };
        let endpoint = if tls { Endpoint::Tls { host, port } } else { Endpoint::Tcp { host, port } };
        Ok(Self {
            endpoint,
            user: decoded(url.username())?,
            secret: url.password().map(decoded).transpose()?.flatten().map(Password).map(Secret::Password),
            database,
        })
    }

    fn unix(url: &Url) -> Result<Self, AddressError> {
        let path = url.to_file_path().ok().filter(|path| path != Path::new("/")).ok_or(AddressError {
            problem: "the URL names no socket".to_owned(),
            try_next: "write it with three slashes, like unix:///run/redis/redis.sock",
        })?;
        let mut address = Self { endpoint: Endpoint::Unix(path), user: None, secret: None, database: 0 };
        for (key, value) in url.query_pairs() {
            match &*key {
                "db" => address.database = database(&value)?,
                "user" => address.user = Some(value.into_owned()),
                "pass" | "password" => address = address.with_password(value),
                // The parameter is not shown: after an unescaped `&` in the password, it is the rest of the password.
                _ => {
                    return Err(AddressError {
                        problem: "unknown parameter in the URL".to_owned(),
                        try_next: "a unix socket's URL takes db, user and pass, percent-encoded",
                    });
                }
            }
        }
        Ok(address)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some((rest, tls)) = sentinels::rest_of(text) {
            return sentinels::read(rest, tls);
        }
        // The parser's error does not repeat the text, so it cannot show a password.
        let url = Url::parse(text).map_err(|error| AddressError {
            problem: format!("the URL cannot be read ({error})"),
            try_next: match text.contains(',') {
                true => {
                    "name one server (in a cluster, any node, or a host name that resolves to several), or \
                     sentinels: redis+sentinel://host:26379,host:26379/service"
                }
                false => {
                    "write it like redis://user:password@host:6379/0, special characters percent-encoded"
                }
            },
        })?;
        match url.scheme() {
            "redis" | "valkey" => Self::tcp(&url, false),
            "rediss" | "valkeys" => Self::tcp(&url, true),
            "unix" | "redis+unix" | "valkey+unix" => Self::unix(&url),
            _ if !text.contains("://") => Err(AddressError {
                problem: "the URL has no scheme".to_owned(),
                try_next: "begin it with redis://, like redis://localhost:6379",
            }),
            other => Err(AddressError {
                problem: format!("the URL's scheme {other:?} is not one of Redis"),
                try_next: "use redis://, rediss:// (TLS), unix:// or redis+sentinel://",
            }),
        }
    }
}

pub(super) fn host(url: &Url) -> Result<String, AddressError> {
    match url.host() {
        Some(Host::Domain(name)) if !name.is_empty() => Ok(name.to_owned()),
        Some(Host::Ipv4(address)) => Ok(address.to_string()),
        Some(Host::Ipv6(address)) => Ok(address.to_string()),
        _ => Err(AddressError {
            problem: "the URL names no host".to_owned(),
            try_next: "write it like redis://localhost:6379",
        }),
    }
}

pub(super) fn port(url: &Url, default: u16) -> Result<u16, AddressError> {
    match url.port().unwrap_or(default) {
        0 => Err(AddressError {
            problem: "port 0 cannot be connected to".to_owned(),
            try_next: "name the port that the server listens on, usually 6379",
        }),
        port => Ok(port),
    }
}

pub(super) fn database(text: &str) -> Result<u32, AddressError> {
    // The text is not shown: after an unescaped slash in a password, it is the rest of the password.
    text.parse().map_err(|_| AddressError {
        problem: "the part after the host is not a database number".to_owned(),
        try_next: "end the URL with /0, /1, …, and percent-encode special characters in the password",
    })
}

pub(super) fn decoded(text: &str) -> Result<Option<String>, AddressError> {
    if text.is_empty() {
        return Ok(None);
    }
    percent_encoding::percent_decode_str(text).decode_utf8().map(|text| Some(text.into_owned())).map_err(
        |_| AddressError {
            problem: "user or password in the URL is not UTF-8 when decoded".to_owned(),
            try_next: "percent-encode it as UTF-8",
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn a_url_with_everything_is_read() {
        let address = address("rediss://al%40ice:p%2Fw@redis.example:7000/3");
        assert_eq!(address.endpoint(), &Endpoint::Tls { host: "redis.example".into(), port: 7000 });
        assert_eq!(address.user(), "al@ice");
        assert_eq!(address.password(), Some("p/w"));
        assert_eq!(address.database(), 3);
        assert!(address.is_tls());
    }

    #[test]
    fn the_names_of_valkey_mean_the_same() {
        assert_eq!(address("valkey://h:1"), address("redis://h:1"));
        assert_eq!(address("valkeys://h"), address("rediss://h"));
    }

    #[test]
    fn a_unix_socket_takes_its_credentials_from_the_query() {
        let address = address("unix:///run/r.sock?db=2&user=u&pass=secret");
        assert_eq!(address.endpoint(), &Endpoint::Unix("/run/r.sock".into()));
        assert_eq!((address.user(), address.password(), address.database()), ("u", Some("secret"), 2));
    }

    #[test]
    fn the_short_form_is_host_and_port() {
        assert_eq!(Address::from_host_and_port("localhost:6380").unwrap(), address("redis://localhost:6380"));
        assert_eq!(Address::from_host_and_port("[::1]:6380").unwrap(), address("redis://[::1]:6380"));
        assert!(Address::from_host_and_port("redis://localhost").is_err());
        assert!(Address::from_host_and_port("localhost:x").is_err());
        assert!(Address::from_host_and_port("").is_err());
    }
}
