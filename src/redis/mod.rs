//! Everything that talks to a Redis server.

pub(crate) mod backoff;
pub(crate) mod channel;
pub(crate) mod cluster;
pub(crate) mod connection;
pub(crate) mod control;
pub(crate) mod fault;
pub(crate) mod frames;
pub(crate) mod ids;
pub(crate) mod info;
pub(crate) mod link;
pub(crate) mod login;
pub(crate) mod nodes;
pub(crate) mod outage;
pub(crate) mod preflight;
pub(crate) mod registry;
pub(crate) mod reply;
pub(crate) mod resp;
pub(crate) mod sentinel;
pub(crate) mod server;
pub(crate) mod server_info;
pub(crate) mod startup;
pub(crate) mod subscription;
pub(crate) mod timing;
