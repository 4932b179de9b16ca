//! For the terminal: plain text, in columns.

use comfy_table::{CellAlignment, Table, presets};

use super::heading::{heading, parameters, verdict};
use super::section::Section;
use super::sections::sections;
use crate::bench::report::Report;

/// The report as text, without a final line break.
pub(crate) fn table(report: &Report) -> String {
    let mut parts = vec![format!("{}\n{}", heading(report), parameters(&report.parameters))];
    parts.extend(sections(report).iter().map(text));
    parts.extend(verdict(report));
    parts.join("\n\n")
}

/// Title, table and notes of one section.
pub(in crate::bench) fn text(section: &Section) -> String {
    let mut lines = vec![section.title.clone(), grid(section)];
    lines.extend(section.notes.iter().cloned());
    lines.join("\n")
}

/// Numbers are aligned to the right, so that their digits line up; marks to the left.
fn grid(section: &Section) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let marks = section.is_marked();
    let header = section.columns.iter().copied().chain(marks.then_some(""));
    table.set_header(header);
    for row in &section.rows {
        let mark = marks.then(|| row.mark.unwrap_or_default());
        table.add_row(row.cells.iter().map(String::as_str).chain(mark));
    }
    for column in table.column_iter_mut().take(section.columns.len()) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::output::sample;

    #[test]
    fn the_table_is_as_reviewed() {
        insta::assert_snapshot!(table(&sample::report()));
    }

    #[test]
    fn the_table_with_work_is_as_reviewed() {
        insta::assert_snapshot!(table(&sample::with_work()));
    }

    #[test]
    fn the_table_of_a_stream_is_as_reviewed() {
        insta::assert_snapshot!(table(&sample::of_a_stream()));
    }

    #[test]
    fn the_table_of_a_cluster_is_as_reviewed() {
        insta::assert_snapshot!(table(&sample::of_a_cluster()));
    }

    #[test]
    fn no_line_is_wider_than_100_columns() {
        let failed = Report { throughput: sample::report().throughput, ..sample::with_work() };
        for report in [sample::report(), failed, sample::of_a_stream(), sample::of_a_cluster()] {
            for line in table(&report).lines() {
                assert!(line.chars().count() <= 100, "{line}");
            }
        }
    }

    #[test]
    fn an_empty_report_has_a_heading_only() {
        assert_eq!(table(&sample::empty()).lines().count(), 2);
    }

    #[test]
    fn a_figure_that_is_not_a_number_is_shown_as_a_dash() {
        let table = table(&sample::broken());
        assert!(table.contains('–') && !table.contains("NaN"), "{table}");
    }
}
