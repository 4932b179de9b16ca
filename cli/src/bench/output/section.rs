//! A table with a title, independent of the form in which it is printed.

/// One table of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) title: String,
    /// A heading has line breaks for the forms that can show them.
    pub(crate) columns: Vec<&'static str>,
    pub(crate) rows: Vec<Row>,
    /// Sentences below the table.
    pub(crate) notes: Vec<String>,
}

/// As many cells as the section has columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) cells: Vec<String>,
    /// A conspicuous word behind the row.
    pub(crate) mark: Option<&'static str>,
}

/// Marks a run that lost or duplicated anything.
pub(crate) const FAILED: &str = "FAILED";

/// A section under construction: one row for each item. Each column is declared once, with its heading and its cells.
pub(crate) struct Builder<'a, T> {
    items: &'a [T],
    section: Section,
}

impl Section {
    pub(crate) fn of<T>(title: impl Into<String>, items: &[T]) -> Builder<'_, T> {
        let rows = vec![Row::default(); items.len()];
        let section = Self { title: title.into(), columns: Vec::new(), rows, notes: Vec::new() };
        Builder { items, section }
    }

    /// Whether there is a column for marks.
    pub(crate) fn is_marked(&self) -> bool {
        self.rows.iter().any(|row| row.mark.is_some())
    }
}

impl<T> Builder<'_, T> {
    pub(crate) fn column(mut self, heading: &'static str, cell: impl Fn(&T) -> String) -> Self {
        self.section.columns.push(heading);
        for (row, item) in self.section.rows.iter_mut().zip(self.items) {
            row.cells.push(cell(item));
        }
        self
    }

    /// A column that only some reports have.
    pub(crate) fn column_if(
        self,
        condition: bool,
        heading: &'static str,
        cell: impl Fn(&T) -> String,
    ) -> Self {
        if condition { self.column(heading, cell) } else { self }
    }

    /// Marks the rows that meet the condition.
    pub(crate) fn mark(mut self, mark: &'static str, condition: impl Fn(&T) -> bool) -> Self {
        for (row, item) in self.section.rows.iter_mut().zip(self.items) {
            row.mark = condition(item).then_some(mark);
        }
        self
    }

    pub(crate) fn notes<N: IntoIterator<Item = String>>(mut self, notes: impl Fn(&T) -> N) -> Self {
        self.section.notes.extend(self.items.iter().flat_map(notes));
        self
    }

    pub(crate) fn finish(self) -> Section {
        self.section
    }
}
