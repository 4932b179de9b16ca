//! Everything, to be read again.

use crate::bench::report::Report;

/// The report as one object, over several lines.
pub(crate) fn json(report: &Report) -> String {
    serde_json::to_string_pretty(report).unwrap_or_else(|_| unreachable!("numbers and texts only"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::output::sample;

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for mut report in [
            sample::report(),
            sample::with_work(),
            sample::of_a_stream(),
            sample::of_a_cluster(),
            sample::empty(),
        ] {
            // A number that takes all its digits.
            report.parameters.latency_seconds = 0.1 + 0.2;
            let read: Report = serde_json::from_str(&json(&report)).expect("our own report");
            assert_eq!(read, report);
        }
    }

    #[test]
    fn a_report_from_before_a_section_was_there_is_read() {
        let mut older = serde_json::to_value(sample::report()).expect("our own report");
        for section in ["idle", "stuck", "bare", "spill", "scaling"] {
            older.as_object_mut().and_then(|report| report.remove(section)).expect(section);
        }
        for parameter in ["source", "overflow", "rate"] {
            older["parameters"].as_object_mut().and_then(|all| all.remove(parameter)).expect(parameter);
        }
        let delivery = older["burst"][0]["delivery"].as_object_mut().expect("a delivery");
        delivery.remove("pending").expect("a count");
        let read: Report = serde_json::from_value(older).expect("an older report");
        assert_eq!(read, Report { idle: Vec::new(), stuck: Vec::new(), ..sample::report() });
    }

    #[test]
    fn what_is_no_number_is_null() {
        assert!(json(&sample::broken()).contains("\"seconds\": null"));
    }
}
