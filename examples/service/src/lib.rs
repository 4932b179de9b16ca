//! The parts of the service, public for its tests.

pub mod error;
pub mod health;
pub mod orders;
pub mod prices;
