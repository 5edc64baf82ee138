//! Tables. Pure.
//!
//! ```text
//! ID  Initiator       Ipaddress       AuthMethod UserName   Apply-To
//! --- --------------- --------------- ---------- ---------- --------
//! 1   iqn.1991-05.com *.*.*.*         none                  both
//!       .example:one
//! ```
//!
//! The rule says where columns begin. A cell that is too long goes on in the next line, which begins with blanks; with
//! `formatoutput off` it pushes those after it to the right instead. Source: reference 6.4.

use super::fields::is_rule;
use super::screen::Answer;

/// A table; cells are found by their column's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    names: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Reads the first table of an answer; empty where there is none. `wrapped` is the column that goes on in the next line
    /// where that begins under the first one.
    pub fn of(answer: &Answer, wrapped: usize) -> Self {
        let mut lines = answer.lines();
        let mut header = "";
        let rule = loop {
            match lines.next() {
                None => return Table::default(),
                Some(line) if is_rule(line) => break line,
                Some(line) => header = line,
            }
        };
        let starts = starts(rule);
        let mut table = Table {
            names: cells(header, &starts)
                .into_iter()
                .map(|name| plain(&name))
                .collect(),
            rows: Vec::new(),
        };
        for line in lines {
            if line.is_empty() {
                continue;
            }
            if is_rule(line) || line.starts_with("___") {
                break;
            }
            if line.starts_with(' ') {
                if let Some(row) = table.rows.last_mut() {
                    go_on(row, line, &starts, wrapped);
                }
            } else {
                table.rows.push(row(line, &starts));
            }
        }
        table
    }

    /// The rows.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|cells| Row { table: self, cells })
    }
}

/// A row.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    table: &'a Table,
    cells: &'a [String],
}

impl<'a> Row<'a> {
    /// The cell in the first column, a name or a number.
    pub fn first(&self) -> &'a str {
        self.cells.first().map_or("", String::as_str)
    }

    /// The cell of a column; none where the table has no such, or the cell is empty. Case, blanks and hyphens of names do not count.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let name = plain(name);
        let at = self.table.names.iter().position(|column| *column == name)?;
        self.cells
            .get(at)
            .map(String::as_str)
            .filter(|cell| !cell.is_empty())
    }
}

fn plain(name: &str) -> String {
    let plain = name.chars().filter(char::is_ascii_alphanumeric);
    plain.map(|c| c.to_ascii_lowercase()).collect()
}

/// Where the columns of a rule begin.
fn starts(rule: &str) -> Vec<usize> {
    let bytes = rule.as_bytes();
    let begins = |at: &usize| bytes[*at] == b'-' && (*at == 0 || bytes[*at - 1] == b' ');
    (0..bytes.len()).filter(begins).collect()
}

/// Cuts a line where columns begin. Texts of screens are ASCII, so that every place is one.
fn cells(line: &str, starts: &[usize]) -> Vec<String> {
    let ends = starts.iter().skip(1).copied().chain([usize::MAX]);
    starts
        .iter()
        .zip(ends)
        .map(|(&start, end)| {
            let cell = line.get(start.min(line.len())..end.min(line.len()));
            cell.unwrap_or_default().trim().to_owned()
        })
        .collect()
}

/// True when a blank is before each column.
fn is_aligned(line: &str, starts: &[usize]) -> bool {
    let bytes = line.as_bytes();
    starts
        .iter()
        .filter(|start| **start > 0)
        .all(|&start| bytes.get(start - 1).is_none_or(|byte| *byte == b' '))
}

/// A line as cells. As many words as columns are the cells, wherever they stand; else the columns cut it.
fn row(line: &str, starts: &[usize]) -> Vec<String> {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    if words.len() == starts.len() {
        return words;
    }
    // Names have no blanks: such a first cell is no name, and the line does not follow the columns.
    let is_cut_well = |cells: &[String]| cells.first().is_some_and(|first| !first.contains(' '));
    if is_aligned(line, starts) {
        let cells = cells(line, starts);
        if is_cut_well(&cells) {
            return cells;
        }
    }
    pushed(line, &words, starts)
}

/// A line of which one cell is longer than its column and pushes the rest to the right. What is before it stands where it should; of
/// the rest nobody can tell which cells are empty, unless as many words as columns are left.
fn pushed(line: &str, words: &[String], starts: &[usize]) -> Vec<String> {
    let mut row = Vec::new();
    for (at, &start) in starts.iter().enumerate() {
        let end = starts.get(at + 1).copied().unwrap_or(usize::MAX);
        let is_whole = line
            .as_bytes()
            .get(end.saturating_sub(1))
            .is_none_or(|byte| *byte == b' ');
        let Some(rest) = line.get(start..) else { break };
        let mut rest = rest.split_whitespace();
        if is_whole {
            let cell = line
                .get(start..end.min(line.len()))
                .unwrap_or_default()
                .trim();
            if cell.contains(' ') {
                break;
            }
            row.push(cell.to_owned());
            continue;
        }
        row.extend(rest.next().map(str::to_owned));
        let rest: Vec<String> = rest.map(str::to_owned).collect();
        if rest.len() == starts.len() - row.len() {
            row.extend(rest);
        }
        return row;
    }
    // The line follows no columns at all: only its first word is sure.
    words.iter().take(1).cloned().collect()
}

fn go_on(row: &mut Vec<String>, line: &str, starts: &[usize], wrapped: usize) {
    let text = line.trim();
    if text.contains(' ') && is_aligned(line, starts) {
        for (cell, more) in row.iter_mut().zip(cells(line, starts)) {
            cell.push_str(&more);
        }
        return;
    }
    // One word is where it begins; what begins under the first column is of the one that is known to be long.
    let indentation = line.len() - line.trim_start().len();
    let under = starts.iter().rposition(|start| *start <= indentation);
    let column = under.filter(|column| *column > 0).unwrap_or(wrapped);
    if row.len() <= column {
        row.resize(column + 1, String::new());
    }
    row[column].push_str(text);
}
