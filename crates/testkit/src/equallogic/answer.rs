//! How the CLI lays out what it answers: blocks of values, and tables whose cells are broken in a way of their own.

/// How wide titles and tables are at most.
const WIDTH: usize = 79;
/// Where the second value of a line begins, when there are two.
const SECOND: usize = 39;
/// What stands before the rest of a broken cell.
const INDENT: &str = "  ";

/// The lines of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Without line ends, before they are broken at the width of the terminal.
    pub lines: Vec<String>,
}

/// A column of a table: its name and its width.
pub type Column = (&'static str, usize);

impl Answer {
    /// Adds a line.
    pub fn line(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    /// Adds values under a title, and a rule below; two in a line when `two` is set and they fit.
    pub fn block(&mut self, title: &str, values: &[(&str, String)], two: bool) {
        self.title(title);
        let mut begun: Option<String> = None;
        for (key, value) in values {
            let text = format!("{key}: {value}");
            if !two {
                self.line(text);
                continue;
            }
            match begun.take() {
                Some(first) if text.len() <= WIDTH - SECOND => {
                    self.line(format!("{first:<SECOND$}{text}"));
                }
                Some(first) => {
                    self.line(first);
                    self.line(text);
                }
                None if text.len() < SECOND => begun = Some(text),
                None => self.line(text),
            }
        }
        self.lines.extend(begun);
        self.line("_".repeat(WIDTH));
    }

    /// Adds a title in a rule.
    pub fn title(&mut self, title: &str) {
        let rest = WIDTH.saturating_sub(title.len() + 2);
        let (before, after) = (rest / 2, rest - rest / 2);
        self.line(format!(
            "{} {title} {}",
            "_".repeat(before),
            "_".repeat(after)
        ));
    }

    /// Adds a table. Whatever the terminal's width, a cell that is too long goes on in the next line, two columns in.
    pub fn table(&mut self, columns: &[Column], rows: &[Vec<String>]) {
        let line = |cells: Vec<String>| {
            let padded = cells
                .iter()
                .zip(columns)
                .map(|(cell, column)| format!("{cell:<w$}", w = column.1));
            padded.collect::<Vec<_>>().join(" ").trim_end().to_owned()
        };
        self.line(line(columns.iter().map(|one| one.0.to_owned()).collect()));
        self.line(line(columns.iter().map(|one| "-".repeat(one.1)).collect()));
        for row in rows {
            let pieces: Vec<Vec<String>> = row
                .iter()
                .zip(columns)
                .map(|(cell, column)| broken(cell, column.1))
                .collect();
            let height = pieces.iter().map(Vec::len).max().unwrap_or(0);
            for at in 0..height {
                let cells = pieces
                    .iter()
                    .map(|one| one.get(at).cloned().unwrap_or_default());
                self.line(line(cells.collect()));
            }
        }
    }
}

/// The pieces of a cell of a table.
fn broken(cell: &str, width: usize) -> Vec<String> {
    let mut letters = cell.chars();
    let mut pieces = vec![letters.by_ref().take(width).collect::<String>()];
    loop {
        let piece: String = letters
            .by_ref()
            .take(width - INDENT.len().min(width - 1))
            .collect();
        if piece.is_empty() {
            return pieces;
        }
        pieces.push(format!("{INDENT}{piece}"));
    }
}

/// Breaks a line at the width of the terminal, into column 0, as `stty hardwrap on` has it; `before` columns are taken already.
pub fn wrapped(line: &str, before: usize, columns: usize) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    let mut room = columns.saturating_sub(before).max(1);
    for letter in line.chars() {
        if room == 0 {
            pieces.push(std::mem::take(&mut piece));
            room = columns.max(1);
        }
        piece.push(letter);
        room -= 1;
    }
    pieces.push(piece);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table is from the test data of a published parser (`ail`, 2014), which quotes a real group.
    #[test]
    fn breaks_cells_as_the_group_does() {
        let columns = [
            ("ID", 3),
            ("Initiator", 29),
            ("Ipaddress", 15),
            ("AuthMethod", 10),
            ("UserName", 10),
            ("Apply-To", 8),
        ];
        let row = |id: &str, initiator: &str, to: &str| {
            [id, initiator, "*.*.*.*", "none", "", to]
                .map(str::to_owned)
                .to_vec()
        };
        let rows = [
            row("1", "iqn.1998-01.com.vmware:xxxxxvm02-7b27a2a8", "both"),
            row("2", "iqn.1998-01.com.vmware:xxxxxvm01-4c08cb5e", "volume"),
        ];
        let mut answer = Answer::default();
        answer.table(&columns, &rows);
        let expected = "\
ID  Initiator                     Ipaddress       AuthMethod UserName   Apply-To
--- ----------------------------- --------------- ---------- ---------- --------
1   iqn.1998-01.com.vmware:xxxxxv *.*.*.*         none                  both
      m02-7b27a2a8
2   iqn.1998-01.com.vmware:xxxxxv *.*.*.*         none                  volume
      m01-4c08cb5e";
        assert_eq!(answer.lines.join("\n"), expected);
    }

    #[test]
    fn puts_two_short_values_in_a_line() {
        let values = [
            ("Name", "v".to_owned()),
            ("Size", "1GB".to_owned()),
            ("iSCSI Name", "i".repeat(40)),
            ("Bind", String::new()),
        ];
        let mut answer = Answer::default();
        answer.block("Volume Information", &values, true);
        assert_eq!(answer.lines[1], format!("{:<39}Size: 1GB", "Name: v"));
        assert_eq!(answer.lines[2], format!("iSCSI Name: {}", "i".repeat(40)));
        assert_eq!(answer.lines[3], "Bind: ");
        assert!(answer.lines[0].contains("_ Volume Information _"));
    }

    #[test]
    fn breaks_lines_at_the_terminal() {
        assert_eq!(wrapped("abcdef", 0, 4), ["abcd", "ef"]);
        assert_eq!(wrapped("abcdef", 3, 4), ["a", "bcde", "f"]);
        assert_eq!(wrapped("", 0, 4), [""]);
    }
}
