//! A table with a title, before it has a form.

/// What one part of a bench found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) title: String,
    /// A heading may be broken into lines where the form can.
    pub(crate) columns: Vec<&'static str>,
    pub(crate) rows: Vec<Row>,
    /// Sentences that belong under the table.
    pub(crate) notes: Vec<String>,
}

/// As many cells as the section has columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) cells: Vec<String>,
    /// Stands behind the row, and is not to be overlooked.
    pub(crate) mark: Option<&'static str>,
}

/// Marks a run that lost or duplicated anything.
pub(crate) const FAILED: &str = "FAILED";

impl Section {
    pub(crate) fn new(title: impl Into<String>, columns: impl Into<Vec<&'static str>>) -> Self {
        Self { title: title.into(), columns: columns.into(), rows: Vec::new(), notes: Vec::new() }
    }

    /// Whether there is a column for marks.
    pub(crate) fn is_marked(&self) -> bool {
        self.rows.iter().any(|row| row.mark.is_some())
    }
}

impl Row {
    pub(crate) fn new(cells: impl Into<Vec<String>>) -> Self {
        Self { cells: cells.into(), mark: None }
    }

    /// The mark, if the condition holds.
    pub(crate) fn marked(mut self, mark: &'static str, condition: bool) -> Self {
        self.mark = condition.then_some(mark);
        self
    }
}
