//! What the limit of the buffer is worth.

use crate::bench::output::numbers;
use crate::bench::output::section::{FAILED, Row, Section};
use crate::bench::report::{Report, Stuck};
use crate::printable::printable;

pub(super) fn section(report: &Report) -> Section {
    let columns = [
        "published",
        "received",
        "dropped",
        "abandoned",
        "never\nreceived",
        "gaps",
        "buffer's\nlimit",
        "group's\npeak memory",
    ];
    let title = "Stuck: messages at full speed for a processor that never finishes";
    let mut section = Section::new(title, columns);
    section.rows.extend(report.stuck.iter().map(row));
    section.notes.extend(report.stuck.iter().flat_map(notes));
    section
}

fn row(stuck: &Stuck) -> Row {
    let counts =
        [stuck.published, stuck.received, stuck.dropped, stuck.abandoned, stuck.missed(), stuck.gaps];
    let memory = [Some(stuck.buffer), stuck.peak_memory];
    let cells: Vec<_> = counts.map(numbers::count).into_iter().chain(memory.map(numbers::memory)).collect();
    Row::new(cells).marked(FAILED, !stuck.adds_up())
}

/// Whether everything that was published is in the ledger, and if not, why. Lines of a terminal.
fn notes(stuck: &Stuck) -> Vec<String> {
    let count = numbers::count;
    let mut notes = Vec::new();
    if stuck.adds_up() {
        notes.push("The ledger adds up to what was published.".to_owned());
    } else {
        notes.push(format!(
            "The ledger does not add up: of {} published, {} were received and {} settled.",
            count(stuck.published),
            count(stuck.received),
            count(stuck.settled())
        ));
    }
    if stuck.unheard > 0 {
        notes.push(format!("{} were published while nobody was subscribed.", count(stuck.unheard)));
    }
    let cause = printable(stuck.cause.as_deref().unwrap_or("nobody knows why"));
    match stuck.gaps {
        0 => {}
        1 => notes.push(format!("The connection of the group broke, which is a gap: {cause}")),
        gaps => notes.push(format!("The connection of the group broke {gaps} times, at last: {cause}")),
    }
    notes
}
