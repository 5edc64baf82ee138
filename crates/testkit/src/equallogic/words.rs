//! The words of a line of the CLI, read one after the other.

use super::refusal::Refusal;

/// The words, and how far they are read.
pub struct Words {
    words: Vec<(usize, String)>,
    at: usize,
    end: usize,
}

impl Words {
    /// The words of a line.
    pub fn of(line: &str) -> Result<Self, Refusal> {
        Ok(Words {
            words: split(line)?,
            at: 0,
            end: line.len(),
        })
    }

    /// The first word.
    pub fn first(&self) -> Option<&str> {
        self.words.first().map(|word| word.1.as_str())
    }

    /// Whether the next word is this.
    pub fn is_next(&self, word: &str) -> bool {
        self.words.get(self.at).is_some_and(|next| next.1 == word)
    }

    /// Puts words before all others.
    pub fn put_before(&mut self, words: &[&str]) {
        let before = words.iter().map(|word| (0, (*word).to_owned()));
        self.words.splice(0..0, before.collect::<Vec<_>>());
    }

    /// Reads `on` or `off`.
    pub fn switched(&mut self) -> Result<bool, Refusal> {
        Ok(self.keyword(&["on", "off"])? == "on")
    }

    /// Reads `enable` or `disable`.
    pub fn enabled(&mut self) -> Result<bool, Refusal> {
        Ok(self.keyword(&["enable", "disable"])? == "enable")
    }

    /// Reads this word if there is one more.
    pub fn flag(&mut self, name: &'static str) -> Result<bool, Refusal> {
        if self.is_done() {
            return Ok(false);
        }
        self.keyword(&[name])?;
        Ok(true)
    }

    /// Reads a number.
    pub fn number(&mut self) -> Result<usize, Refusal> {
        let bad = self.bad();
        self.word()?.parse().map_err(|_| bad)
    }

    /// Reads a number of 32 bits.
    pub fn number_32(&mut self) -> Result<u32, Refusal> {
        let bad = self.bad();
        self.word()?.parse().map_err(|_| bad)
    }

    /// Reads one of these words, or a beginning that only one of them has.
    pub fn keyword(&mut self, known: &[&'static str]) -> Result<&'static str, Refusal> {
        let bad = self.bad();
        let word = self.word()?;
        if let Some(exact) = known.iter().find(|one| one.eq_ignore_ascii_case(&word)) {
            return Ok(exact);
        }
        let mut begun = known.iter().filter(|one| {
            !word.is_empty()
                && one
                    .get(..word.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(&word))
        });
        match (begun.next(), begun.next()) {
            (Some(one), None) => Ok(one),
            _ => Err(bad),
        }
    }

    /// Reads any word.
    pub fn word(&mut self) -> Result<String, Refusal> {
        let bad = self.bad();
        let word = self.words.get(self.at).ok_or(bad)?.1.clone();
        self.at += 1;
        Ok(word)
    }

    /// Whether there are no more.
    pub fn is_done(&self) -> bool {
        self.at == self.words.len()
    }

    /// Refuses what is left over.
    pub fn nothing_left(&self) -> Result<(), Refusal> {
        if self.is_done() {
            Ok(())
        } else {
            Err(self.bad())
        }
    }

    /// The refusal of the next word.
    pub fn bad(&self) -> Refusal {
        let column = self.words.get(self.at).map_or(self.end, |word| word.0);
        Refusal::BadCommand { column }
    }
}

/// The words with their columns; quotes keep blanks in a word.
fn split(line: &str) -> Result<Vec<(usize, String)>, Refusal> {
    let mut words: Vec<(usize, String)> = Vec::new();
    let mut open: Option<char> = None;
    let mut inside = false;
    for (column, letter) in line.char_indices() {
        match (open, letter) {
            (Some(quote), letter) if letter == quote => open = None,
            (None, '"' | '\'') => {
                open = Some(letter);
                if !inside {
                    words.push((column, String::new()));
                }
                inside = true;
            }
            (None, letter) if letter.is_whitespace() => inside = false,
            (_, letter) => {
                if !inside {
                    words.push((column, String::new()));
                }
                inside = true;
                if let Some((_, word)) = words.last_mut() {
                    word.push(letter);
                }
            }
        }
    }
    match open {
        Some(_) => Err(Refusal::BadCommand { column: line.len() }),
        None => Ok(words),
    }
}
