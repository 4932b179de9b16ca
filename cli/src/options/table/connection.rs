//! Options that name the server and the login.

use redis_consumer_group::Address;

use crate::options::option::{Group, Kind, Opt};
use crate::options::value::put;

pub(super) const GROUP: Group = Group { heading: "Connection", options: OPTIONS };

const OPTIONS: &[Opt] = &[
        Opt::new(
            "url",
            Kind::Value("URL"),
            "redis://localhost:6379",
            "Server URL: redis://, rediss:// (TLS), unix:// or redis+sentinel://",
            |s, text| put(&mut s.config.address, text.parse().map_err(|e| format!("{e}"))),
        )
        .more("It may contain user, password and database. redis+sentinel://HOST:PORT,HOST:PORT/SERVICE is the primary that Sentinel names; add ?sentinel_user=U&sentinel_password=P if the sentinels need a login. Other users of this machine can see a password given here: prefer --password-file or RCG_URL. Without RCG_URL, REDIS_URL is used")
        .short('u')
        .or_variable("REDIS_URL"),
        Opt::new("redis-addr", Kind::Value("HOST:PORT"), "", "Host and port of the server: shorthand for --url", |s, text| {
            put(&mut s.config.address, Address::from_host_and_port(text).map_err(|e| e.to_string()))
        }),
        Opt::new(
            "password-file",
            Kind::File,
            "",
            "File with the password, read again at every connect. One newline at the end is ignored. It replaces a password in the URL",
            |s, text| put(&mut s.password_file, Ok(Some(text.into()))),
        ),
        Opt::new(
            "tls-ca",
            Kind::File,
            "",
            "CA certificates (PEM) to trust instead of the system's",
            |s, text| put(&mut s.config.tls.ca, Ok(Some(text.into()))),
        ),
        Opt::new("tls-cert", Kind::File, "", "Client certificate (PEM), if the server asks for one", |s, text| {
            put(&mut s.config.tls.cert, Ok(Some(text.into())))
        }),
        Opt::new("tls-key", Kind::File, "", "Private key (PEM) of --tls-cert", |s, text| {
            put(&mut s.config.tls.key, Ok(Some(text.into())))
        }),
        Opt::new("config", Kind::File, "", "TOML file with any of these options, under the same names", |_, _| Ok(()))
            .not_in_file(),
];
