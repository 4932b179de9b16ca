//! Processes of a group, their ends and their returns, on real servers.

mod dying;
mod listing;
mod process;
mod refusals;
mod registering;
mod returning;
mod server;
