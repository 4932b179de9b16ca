//! A finished bench, in each of the forms that it can be given out in.
//!
//! ```text
//!   Report ──► sections ──► table      for the terminal
//!     │                └──► markdown   for a README
//!     ├──► csv        one row a run
//!     ├──► json       everything, to be read again
//!     └──► plot       an SVG
//! ```

mod csv;
mod json;
mod markdown;
pub(super) mod medians;
pub(super) mod numbers;
mod plot;
#[cfg(test)]
pub(super) mod sample;
pub(super) mod section;
mod sections;
pub(super) mod table;

pub(crate) use self::csv::csv;
pub(crate) use self::json::json;
pub(crate) use self::markdown::markdown;
pub(crate) use self::plot::plot;
pub(crate) use self::table::table;
