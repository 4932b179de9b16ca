//! For a README: the tables of the terminal in GitHub's Markdown.

use super::heading::{heading, parameters, verdict};
use super::section::Section;
use super::sections::sections;
use crate::bench::report::Report;
use crate::printable::printable;

/// The report as Markdown, with the command that made it.
pub(crate) fn markdown(report: &Report) -> String {
    let mut parts = vec![escaped(&heading(report)), escaped(&parameters(&report.parameters))];
    parts.extend(sections(report).iter().map(text));
    parts.extend(verdict(report).map(|verdict| format!("**{verdict}**")));
    parts.push("Made with:".to_owned());
    // An indented block: no text in it can end it.
    parts.push(format!("    {}", printable(&report.parameters.command)));
    parts.join("\n\n") + "\n"
}

fn text(section: &Section) -> String {
    let mut text = format!("**{}**\n\n{}", escaped(&section.title), grid(section));
    for note in &section.notes {
        text.push_str("\n\n");
        text.push_str(&escaped(note));
    }
    text
}

fn grid(section: &Section) -> String {
    let marks = section.is_marked();
    let header = section.columns.iter().map(|column| escaped(&column.replace('\n', " ")));
    let mut lines = vec![
        line(header.chain(marks.then(String::new))),
        line(section.columns.iter().map(|_| "--:").chain(marks.then_some(":--")).map(str::to_owned)),
    ];
    lines.extend(section.rows.iter().map(|row| {
        let mark = marks.then(|| row.mark.map(|mark| format!("**{mark}**")).unwrap_or_default());
        line(row.cells.iter().map(|cell| escaped(cell)).chain(mark))
    }));
    lines.join("\n")
}

fn line(cells: impl Iterator<Item = String>) -> String {
    format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
}

/// Escapes what Markdown would interpret.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        if matches!(char, '\\' | '|' | '<' | '*' | '_' | '`' | '[' | ']' | '~' | '&' | '$') {
            escaped.push('\\');
        }
        escaped.push(char);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::output::sample;

    #[test]
    fn the_markdown_is_as_reviewed() {
        insta::assert_snapshot!(markdown(&sample::report()));
    }

    #[test]
    fn texts_from_outside_are_escaped() {
        let mut report = sample::report();
        report.machine.cpu = "a|b <c> `d`\n# e".to_owned();
        report.parameters.command = "bench\n```".to_owned();
        let markdown = markdown(&report);
        assert!(markdown.contains(r"a\|b \<c> \`d\`\\n# e, 4 cores"), "{markdown}");
        assert!(markdown.ends_with("\n\n    bench\\n```\n"), "{markdown}");
    }

    #[test]
    fn each_row_has_as_many_cells_as_its_header() {
        let markdown = markdown(&sample::with_work());
        for table in markdown.split("\n\n").filter(|part| part.starts_with("| ")) {
            let mut cells = table.lines().map(|line| line.matches(" |").count());
            let header = cells.next();
            assert!(cells.all(|row| Some(row) == header), "{table}");
        }
    }
}
