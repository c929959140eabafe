//! Tables that stay readable: as they are in a pipe, fitted on a terminal, one value a line where
//! the terminal is too narrow for columns.

use console::{measure_text_width, truncate_str};

use crate::cli::output::{Style, paint};

/// Blank columns between two columns.
const GAP: usize = 2;

/// A column that may shrink keeps at least this many characters, or the table is stacked.
const MIN_SHRUNK: usize = 8;

/// Rows under headings.
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

struct Column {
    heading: &'static str,
    align: Align,
    can_shrink: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Align {
    Left,
    Right,
}

/// One value, with an optional style.
pub struct Cell {
    text: String,
    style: Option<Style>,
}

impl Cell {
    /// A value in a style.
    pub fn styled(text: impl AsRef<str>, style: Style) -> Self {
        Self {
            style: Some(style),
            ..Self::from(text.as_ref())
        }
    }
}

impl From<&str> for Cell {
    /// Takes the text without control characters: what a provider or a file wrote must not move
    /// the cursor.
    fn from(text: &str) -> Self {
        Self {
            text: text
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect(),
            style: None,
        }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl Table {
    /// An empty table without columns.
    pub fn new() -> Self {
        Self {
            columns: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// Adds a column that is always shown whole: ids, states.
    #[must_use]
    pub fn column(self, heading: &'static str) -> Self {
        self.with(heading, Align::Left, false)
    }

    /// Adds a column of numbers, aligned right.
    #[must_use]
    pub fn number(self, heading: &'static str) -> Self {
        self.with(heading, Align::Right, false)
    }

    /// Adds a column that may be cut with `…` to fit: reasons, titles.
    #[must_use]
    pub fn prose(self, heading: &'static str) -> Self {
        self.with(heading, Align::Left, true)
    }

    /// Adds a row, one cell a column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// `true` if there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text with a newline after each line; `width` is `None` where nothing limits it.
    /// Columns that are empty in every row are left out.
    pub fn render(&self, width: Option<usize>, color: bool) -> String {
        let shown: Vec<usize> = (0..self.columns.len())
            .filter(|&column| {
                self.rows.is_empty() || self.rows.iter().any(|row| !text(row, column).is_empty())
            })
            .collect();
        match self.widths(&shown, width) {
            Some(widths) => self.in_columns(&shown, &widths, color),
            None => self.stacked(&shown, width.unwrap_or(usize::MAX), color),
        }
    }

    fn with(mut self, heading: &'static str, align: Align, can_shrink: bool) -> Self {
        self.columns.push(Column {
            heading,
            align,
            can_shrink,
        });
        self
    }

    /// Column widths that fit, shrinking prose from the widest; `None` if nothing fits.
    fn widths(&self, shown: &[usize], limit: Option<usize>) -> Option<Vec<usize>> {
        let mut widths: Vec<usize> = shown
            .iter()
            .map(|&column| {
                let heading = measure_text_width(self.columns[column].heading);
                self.rows
                    .iter()
                    .map(|row| measure_text_width(text(row, column)))
                    .fold(heading, usize::max)
            })
            .collect();
        let gaps = GAP * shown.len().saturating_sub(1);
        let limit = limit.unwrap_or(usize::MAX);
        let mut total = widths.iter().sum::<usize>() + gaps;
        while total > limit {
            let widest = (0..shown.len())
                .filter(|&at| self.columns[shown[at]].can_shrink && widths[at] > MIN_SHRUNK)
                .max_by_key(|&at| widths[at])?;
            widths[widest] -= 1;
            total -= 1;
        }
        Some(widths)
    }

    fn in_columns(&self, shown: &[usize], widths: &[usize], color: bool) -> String {
        let mut lines = String::new();
        let headings = shown.iter().zip(widths).map(|(&column, &width)| {
            let heading = padded(
                self.columns[column].heading,
                width,
                self.columns[column].align,
            );
            (heading, Some(Style::Dim))
        });
        push_line(&mut lines, headings, color);
        for row in &self.rows {
            let cells = shown.iter().zip(widths).map(|(&column, &width)| {
                let cut = truncate_str(text(row, column), width, "…");
                let style = row.get(column).and_then(|cell| cell.style);
                (padded(&cut, width, self.columns[column].align), style)
            });
            push_line(&mut lines, cells, color);
        }
        lines
    }

    /// `heading value`, a line each, a blank line between rows; long values go on below.
    fn stacked(&self, shown: &[usize], limit: usize, color: bool) -> String {
        let label = shown
            .iter()
            .map(|&column| measure_text_width(self.columns[column].heading))
            .max()
            .unwrap_or(0);
        let room = limit.saturating_sub(label + GAP).max(MIN_SHRUNK);
        let mut lines = String::new();
        for (at, row) in self.rows.iter().enumerate() {
            if at > 0 {
                lines.push('\n');
            }
            for &column in shown
                .iter()
                .filter(|&&column| !text(row, column).is_empty())
            {
                let style = row.get(column).and_then(|cell| cell.style);
                let mut heading = self.columns[column].heading;
                for part in wrapped(text(row, column), room) {
                    let parts = [
                        (padded(heading, label, Align::Left), Some(Style::Dim)),
                        (part, style),
                    ];
                    push_line(&mut lines, parts, color);
                    heading = "";
                }
            }
        }
        lines
    }
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

fn text(row: &[Cell], column: usize) -> &str {
    row.get(column).map_or("", |cell| cell.text.as_str())
}

fn padded(text: &str, width: usize, align: Align) -> String {
    let blank = " ".repeat(width.saturating_sub(measure_text_width(text)));
    match align {
        Align::Left => format!("{text}{blank}"),
        Align::Right => format!("{blank}{text}"),
    }
}

fn push_line(
    lines: &mut String,
    cells: impl IntoIterator<Item = (String, Option<Style>)>,
    color: bool,
) {
    let cells: Vec<(String, Option<Style>)> = cells.into_iter().collect();
    // No blanks at the end of a line: they would wrap on a narrow terminal.
    let used = cells
        .iter()
        .rposition(|(text, _)| !text.trim_end().is_empty())
        .map_or(0, |at| at + 1);
    for (at, (text, style)) in cells.iter().take(used).enumerate() {
        let body = text.trim_end();
        let blank = &text[body.len()..];
        match style {
            Some(style) => lines.push_str(&paint(color, *style, body)),
            None => lines.push_str(body),
        }
        if at + 1 < used {
            lines.push_str(blank);
            lines.push_str(&" ".repeat(GAP));
        }
    }
    lines.push('\n');
}

/// Cuts text into lines of at most `width` characters, at blanks where it can.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let fits = measure_text_width(&line) + 1 + measure_text_width(word) <= width;
        if !line.is_empty() && !fits {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        for character in word.chars() {
            line.push(character);
            if measure_text_width(&line) > width {
                line.pop();
                lines.push(std::mem::take(&mut line));
                line.push(character);
            }
        }
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new()
            .column("ID")
            .column("STATE")
            .prose("REASON")
            .number("REQUESTS");
        table.row(["gemini/1".into(), "ready".into(), "".into(), "1204".into()]);
        table.row([
            "antigravity/me@example.com".into(),
            "cooling".into(),
            "gemini-3-pro: 429 from the provider".into(),
            "7".into(),
        ]);
        table
    }

    #[test]
    fn a_pipe_gets_everything_in_columns() {
        let text = sample().render(None, false);
        assert_eq!(
            text,
            "ID                          STATE    REASON                               REQUESTS\n\
             gemini/1                    ready                                             1204\n\
             antigravity/me@example.com  cooling  gemini-3-pro: 429 from the provider         7\n"
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in [20, 40, 60, 80, 120] {
            for line in sample().render(Some(width), false).lines() {
                assert!(measure_text_width(line) <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn a_narrow_terminal_gets_every_value_whole() {
        let text = sample().render(Some(40), false);
        assert!(text.contains("antigravity/me@example.com"), "{text}");
        assert!(text.contains("1204"), "{text}");
    }

    #[test]
    fn prose_shrinks_before_anything_is_stacked() {
        let text = sample().render(Some(70), false);
        assert!(text.contains('…'), "{text}");
        assert!(text.starts_with("ID "), "{text}");
    }

    #[test]
    fn a_column_without_values_is_left_out() {
        let mut table = Table::new().column("ID").column("LABEL");
        table.row(["gemini/1".into(), "".into()]);
        assert_eq!(table.render(None, false), "ID\ngemini/1\n");
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        let mut table = Table::new().column("ID");
        table.row(["a\u{1b}[2Jb\n".into()]);
        assert!(!table.render(None, false).contains('\u{1b}'));
    }
}
