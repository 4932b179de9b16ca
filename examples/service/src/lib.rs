//! The parts of the service, so that the tests can reach them.

pub mod error;
pub mod health;
pub mod orders;
pub mod prices;
