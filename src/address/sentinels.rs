//! The URL of a service that sentinels watch. It names several hosts, which URL parsers do not accept.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use url::{Url, form_urlencoded};

use super::parse::{database, decoded, host, port};
use super::{Address, AddressError, Endpoint, Password, Secret, bracketed, encoded};

/// The sentinels, the service to ask them for, and the login at the sentinels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sentinels {
    /// In the order of the URL, at least one.
    pub(crate) hosts: Vec<(String, u16)>,
    /// The name of the primary in the configuration of the sentinels.
    pub(crate) service: String,
    /// Applies to the sentinels and to the server.
    pub(crate) tls: bool,
    user: Option<String>,
    password: Option<Password>,
}

/// Characters that need no escape in the name of a service.
const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');

/// The default port of sentinels.
const PORT: u16 = 26379;

/// The rest of a URL after `://`, and whether it asks for TLS, if its scheme is one for sentinels.
pub(super) fn rest_of(text: &str) -> Option<(&str, bool)> {
    let (scheme, rest) = text.trim().split_once("://")?;
    match scheme.to_ascii_lowercase().as_str() {
        "redis+sentinel" | "valkey+sentinel" => Some((rest, false)),
        "rediss+sentinel" | "valkeys+sentinel" => Some((rest, true)),
        _ => None,
    }
}

/// Reads `[user[:password]@]host[:port],…/service[/db][?sentinel_user=U&sentinel_password=P]`.
///
/// No error repeats a part of the URL: after an unescaped character, any part may be the rest of a password.
pub(super) fn read(rest: &str, tls: bool) -> Result<Address, AddressError> {
    if rest.contains('#') {
        return Err(AddressError {
            problem: "the URL has a part after #".to_owned(),
            try_next: "leave it out, and percent-encode this character in passwords",
        });
    }
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = place.split_once('/').unwrap_or((place, ""));
    if path.contains('@') {
        return Err(AddressError {
            problem: "the URL has an @ after its hosts".to_owned(),
            try_next: "percent-encode special characters in the password and in the name of the service",
        });
    }
    let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let mut parts = path.trim_end_matches('/').split('/');
    let service = parts.next().and_then(|name| decoded(name).transpose()).transpose()?;
    let service = service.ok_or_else(|| AddressError {
        problem: "the URL names no service".to_owned(),
        try_next: "put its name after the sentinels, as in redis+sentinel://host:26379/mymaster",
    })?;
    let database = parts.next().map_or(Ok(0), database)?;
    if parts.next().is_some() {
        return Err(AddressError {
            problem: "more than a service and a database stands after the hosts of the URL".to_owned(),
            try_next: "end it with /mymaster or /mymaster/0, and percent-encode special characters in passwords",
        });
    }
    let hosts = hosts.split(',').map(one_host).collect::<Result<_, _>>()?;
    let mut sentinels = Sentinels { hosts, service, tls, user: None, password: None };
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "sentinel_user" => sentinels.user = Some(value.into_owned()),
            "sentinel_password" => sentinels.password = Some(Password(value.into_owned())),
            // The parameter is not shown: after an unescaped `&` in the password, it is the rest of the password.
            _ => {
                return Err(AddressError {
                    problem: "unknown parameter in the URL".to_owned(),
                    try_next: "the URL of sentinels takes sentinel_user and sentinel_password, percent-encoded; put the \
                               server's user and password before the @",
                });
            }
        }
    }
    Ok(Address {
        endpoint: Endpoint::Sentinels(sentinels),
        user: decoded(user)?,
        secret: decoded(password)?.map(Password).map(Secret::Password),
        database,
    })
}

fn one_host(text: &str) -> Result<(String, u16), AddressError> {
    let url = Url::parse(&format!("redis://{text}")).map_err(|error| AddressError {
        problem: format!("a sentinel in the URL cannot be read ({error})"),
        try_next: "write them like redis+sentinel://one:26379,two:26379/mymaster, special characters in passwords \
                   percent-encoded",
    })?;
    Ok((host(&url)?, port(&url, PORT)?))
}

impl Sentinels {
    /// The user name at the sentinels: `default` if the address names none.
    pub(crate) fn user(&self) -> &str {
        self.user.as_deref().unwrap_or("default")
    }

    pub(crate) fn password(&self) -> Option<&str> {
        self.password.as_ref().map(|password| password.0.as_str())
    }

    pub(super) fn scheme(&self) -> &'static str {
        if self.tls { "rediss+sentinel" } else { "redis+sentinel" }
    }

    /// The query with the login at the sentinels.
    pub(super) fn query(&self) -> String {
        let user = self.user.as_deref().map(|user| format!("sentinel_user={}", encoded(user)));
        let password = self.password().map(|password| format!("sentinel_password={}", encoded(password)));
        let login: Vec<_> = user.into_iter().chain(password).collect();
        if login.is_empty() { String::new() } else { format!("?{}", login.join("&")) }
    }

    /// The service's name, escaped for a URL.
    pub(super) fn encoded_service(&self) -> String {
        percent_encoding::utf8_percent_encode(&self.service, NAME).to_string()
    }
}

impl fmt::Display for Sentinels {
    /// The hosts, as in the URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (host, port)) in self.hosts.iter().enumerate() {
            write!(f, "{}{}:{port}", if at > 0 { "," } else { "" }, bracketed(host))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    fn sentinels(text: &str) -> Sentinels {
        match address(text).endpoint {
            Endpoint::Sentinels(sentinels) => sentinels,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_url_with_everything_is_read() {
        let text = "rediss+sentinel://al%40ice:p%2Fw@one:7000,[::1],three/my%20master/3?sentinel_user=u&sentinel_password=s%26";
        let address = address(text);
        assert_eq!((address.user(), address.password(), address.database()), ("al@ice", Some("p/w"), 3));
        assert!(address.is_tls());
        let sentinels = sentinels(text);
        assert_eq!(sentinels.hosts, [("one".into(), 7000), ("::1".into(), 26379), ("three".into(), 26379)]);
        assert_eq!(
            (sentinels.service.as_str(), sentinels.user(), sentinels.password()),
            ("my master", "u", Some("s&"))
        );
    }

    #[test]
    fn omitted_parts_have_their_defaults() {
        let address = address("redis+sentinel://one/mymaster");
        assert_eq!((address.user(), address.password(), address.database()), ("default", None, 0));
        assert!(!address.is_tls());
        let sentinels = sentinels("redis+sentinel://one/mymaster/");
        assert_eq!((sentinels.user(), sentinels.password()), ("default", None));
        assert_eq!(address, "valkey+sentinel://one:26379/mymaster/0".parse().unwrap());
    }

    #[test]
    fn the_password_of_the_server_can_be_given_later() {
        let address = address("redis+sentinel://one/mymaster?sentinel_password=s").with_password("later");
        assert_eq!(address.password(), Some("later"));
        let Endpoint::Sentinels(sentinels) = address.endpoint() else { panic!("{address}") };
        assert_eq!(sentinels.password(), Some("s"));
    }

    #[test]
    fn a_password_never_shows() {
        let read = address("redis+sentinel://u:hush@h,i/s/2?sentinel_user=v&sentinel_password=hush");
        assert_eq!(read.to_string(), "redis+sentinel://h:26379,i:26379/s/2");
        let shown = format!("{read} {read:?} {:?}", read.endpoint());
        assert!(!shown.contains("hush"), "{shown}");
        for broken in [
            "redis+sentinel://u:hush@h",
            "redis+sentinel://u:hush@h/",
            "redis+sentinel://u:hush@/s",
            "redis+sentinel://u:hush@h,/s",
            "redis+sentinel://u:hush@h:port/s",
            "redis+sentinel://u:hush@h:0/s",
            "redis+sentinel://u:hush@h/s/x",
            "redis+sentinel://u:hush@h/s/0/1",
            "redis+sentinel://u:12/hush@h/s",
            "redis+sentinel://u:12#hush@h/s",
            "redis+sentinel://u:12?hush@h/s",
            "redis+sentinel://u:12/s?hush@h/s",
            "redis+sentinel://h/s?sentinel_password=a&hush",
            "redis+sentinel://h/s?sentinel_password=a#hush",
            "redis+sentinel://u:hush,h/s",
        ] {
            let error = broken.parse::<Address>().unwrap_err().to_string();
            assert!(!error.contains("hush"), "{error}");
        }
    }

    #[tokio::test]
    async fn with_its_credentials_it_is_the_same_when_read_again() {
        for text in [
            "redis+sentinel://h/s",
            "redis+sentinel://u:p%2Fw@h:1,[::1]:2/a%2Fb/7?sentinel_user=v%26&sentinel_password=s%2Bc%20r%3Det",
            "rediss+sentinel://:hush@h:1/s?sentinel_password=x",
        ] {
            let credentials = address(text).credentials().await.unwrap();
            assert_eq!(address(&address(text).secret_url(credentials.as_ref())), address(text), "{text}");
        }
    }

    #[test]
    fn an_address_that_is_shown_can_be_parsed_again() {
        for text in ["redis+sentinel://one:1,[::1]:2/mymaster", "rediss+sentinel://one:26379/a%2Fb/4"] {
            assert_eq!(address(text).to_string(), text);
        }
    }
}
