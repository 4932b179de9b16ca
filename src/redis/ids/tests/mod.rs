//! Processes of a group on real servers: how they start, end and return.

mod dying;
mod listing;
mod process;
mod refusals;
mod registering;
mod returning;
mod server;
