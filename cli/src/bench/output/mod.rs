//! A report in each of the forms in which it can be printed.
//!
//! ```text
//!   Report ──► sections ──► table      for the terminal
//!     │                └──► markdown   for a README
//!     ├──► json       everything, which can be read again
//!     ├──► csv        one row for each run
//!     └──► plot       an SVG
//! ```

mod csv;
mod heading;
mod markdown;
pub(super) mod numbers;
mod plot;
#[cfg(test)]
pub(super) mod sample;
pub(super) mod section;
mod sections;
pub(super) mod table;

pub(crate) use self::csv::csv;
pub(crate) use self::markdown::markdown;
pub(crate) use self::plot::plot;
pub(crate) use self::table::table;
use crate::bench::report::Report;

/// One object, over several lines.
pub(crate) fn json(report: &Report) -> String {
    serde_json::to_string_pretty(report).unwrap_or_else(|_| unreachable!("numbers and texts only"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_that_is_read_again_is_the_same_report() {
        for mut report in [
            sample::report(),
            sample::with_work(),
            sample::of_a_stream(),
            sample::of_a_cluster(),
            sample::empty(),
        ] {
            // A number that needs all of its digits.
            report.parameters.latency_seconds = 0.1 + 0.2;
            let read: Report = serde_json::from_str(&json(&report)).expect("our own report");
            assert_eq!(read, report);
        }
    }

    #[test]
    fn a_figure_that_is_not_a_number_is_null() {
        assert!(json(&sample::broken()).contains("\"seconds\": null"));
    }
}
