//! `*` (any text), `?` (any one character) and `\` (the next one as it is) in the values of filters.

use std::sync::atomic::{AtomicU64, Ordering};

/// Characters that the filters of one request may look at: a page of a thousand things with fifty filters of two hundred values needs
/// a fifth of it, and it is done in less than half a second.
const STEPS_MAX: u64 = 50_000_000;
/// Characters after which others may work.
const STEPS_BETWEEN_PAUSES: u64 = 1_000_000;

/// How much the filters of a request have looked at.
#[derive(Debug, Default)]
pub(super) struct Effort {
    steps: AtomicU64,
    paused_at: AtomicU64,
}

impl Effort {
    /// True once nothing is looked at any more.
    pub(super) fn is_spent(&self) -> bool {
        self.steps.load(Ordering::Relaxed) > STEPS_MAX
    }

    /// True now and then.
    pub(super) fn is_due_to_pause(&self) -> bool {
        let steps = self.steps.load(Ordering::Relaxed);
        let is_due = steps - self.paused_at.load(Ordering::Relaxed) > STEPS_BETWEEN_PAUSES;
        if is_due {
            self.paused_at.store(steps, Ordering::Relaxed);
        }
        is_due
    }

    fn spend(&self, steps: usize) {
        self.steps.fetch_add(steps as u64, Ordering::Relaxed);
    }
}

/// A value of a filter.
#[derive(Debug)]
pub(super) enum Pattern {
    /// It has no wildcard.
    Exact(String),
    /// What stands before, between and behind its stars; one part where it has none.
    Wild(Vec<Part>),
}

/// A part of a pattern without stars.
#[derive(Debug)]
pub(super) enum Part {
    Plain(String),
    /// None for any character.
    Holes(Vec<Option<char>>),
}

impl Pattern {
    pub(super) fn of(value: &str) -> Self {
        if !value.contains(['*', '?', '\\']) {
            return Pattern::Exact(value.to_owned());
        }
        let mut parts = Vec::new();
        let mut part = Vec::new();
        let mut letters = value.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '*' => parts.push(Part::of(std::mem::take(&mut part))),
                '?' => part.push(None),
                // The last one stands for itself.
                '\\' => part.push(Some(letters.next().unwrap_or('\\'))),
                letter => part.push(Some(letter)),
            }
        }
        parts.push(Part::of(part));
        Pattern::Wild(parts)
    }

    /// The value, when it has no wildcard.
    pub(super) fn exact(&self) -> Option<&str> {
        match self {
            Pattern::Exact(text) => Some(text),
            Pattern::Wild(_) => None,
        }
    }

    /// True when the whole text fits; false when the effort is spent.
    pub(super) fn matches(&self, text: &str, effort: &Effort) -> bool {
        match self {
            Pattern::Exact(value) => {
                effort.spend(1);
                value == text
            }
            Pattern::Wild(parts) => !effort.is_spent() && fits(parts, text, effort),
        }
    }
}

fn fits(parts: &[Part], text: &str, effort: &Effort) -> bool {
    let (first, rest) = match parts {
        [only] => return only.behind(text, effort).is_some_and(str::is_empty),
        [first, rest @ ..] => (first, rest),
        [] => return text.is_empty(),
    };
    let Some(mut text) = first.behind(text, effort) else {
        return false;
    };
    let [between @ .., last] = rest else {
        return true;
    };
    // The first place is as good as any later one: what follows has the more room.
    for part in between {
        match part.found_in(text, effort) {
            Some(behind) => text = behind,
            None => return false,
        }
    }
    last.ends(text, effort)
}

impl Part {
    fn of(letters: Vec<Option<char>>) -> Self {
        let plain: Option<String> = letters.iter().copied().collect();
        plain.map_or(Part::Holes(letters), Part::Plain)
    }

    /// What is behind it, when the text begins with it.
    fn behind<'t>(&self, text: &'t str, effort: &Effort) -> Option<&'t str> {
        match self {
            Part::Plain(plain) => {
                effort.spend(plain.len());
                text.strip_prefix(plain.as_str())
            }
            Part::Holes(letters) => {
                let mut rest = text.chars();
                let fits = |wanted: &Option<char>| {
                    effort.spend(1);
                    rest.next()
                        .is_some_and(|found| wanted.is_none_or(|wanted| wanted == found))
                };
                letters.iter().all(fits).then_some(rest.as_str())
            }
        }
    }

    /// What is behind its first place in the text.
    fn found_in<'t>(&self, text: &'t str, effort: &Effort) -> Option<&'t str> {
        match self {
            Part::Plain(plain) => {
                effort.spend(text.len());
                text.split_once(plain.as_str()).map(|(_, behind)| behind)
            }
            Part::Holes(_) => {
                let mut starts = text.char_indices();
                starts.find_map(|(start, _)| self.behind(&text[start..], effort))
            }
        }
    }

    /// True when the text ends with it.
    fn ends(&self, text: &str, effort: &Effort) -> bool {
        match self {
            Part::Plain(plain) => {
                effort.spend(plain.len());
                text.ends_with(plain.as_str())
            }
            Part::Holes(letters) => {
                let mut rest = text.chars().rev();
                letters.iter().rev().all(|wanted| {
                    effort.spend(1);
                    rest.next()
                        .is_some_and(|found| wanted.is_none_or(|wanted| wanted == found))
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::of(pattern).matches(text, &Effort::default())
    }

    #[test]
    fn wildcards_match_as_ec2_says() {
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("**", ""),
            ("*", "anything"),
            ("a*c", "abbc"),
            ("a*c", "ac"),
            ("*b*b*", "abcb"),
            ("a**c", "abc"),
            ("?x", "ax"),
            ("caf?", "caf\u{e9}"),
            ("*?", "\u{e9}"),
            ("*a?c*", "aaxabcx"),
            ("*?b", "bb"),
            (r"\*a\?", "*a?"),
            (r"x\", r"x\"),
            (r"*\\", r"x\"),
            ("2016-*", "2016-08-29T17:35:47.918Z"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("a", ""),
            ("?", ""),
            ("?", "ab"),
            ("caf??", "caf\u{e9}"),
            ("a*c", "abcd"),
            // One letter does not stand for two places.
            ("a*a", "a"),
            ("ab*bc", "abc"),
            ("*b*b", "ab"),
            ("*?b", "b"),
            (r"\*", "x"),
            ("Gold", "gold"),
            ("*b*b*", "abc"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn work_is_counted_and_ends() {
        let effort = Effort::default();
        let text = "a".repeat(1024);
        let slow = Pattern::of(&format!("*{}b*", "?".repeat(500)));
        let mut times = 0;
        while !effort.is_spent() {
            assert!(!slow.matches(&text, &effort));
            times += 1;
            assert!(times < 1000);
        }
        assert!(effort.is_due_to_pause() && !effort.is_due_to_pause());
        assert!(!Pattern::of("a*").matches(&text, &effort), "no more");
        // Without `?` a text is looked at once, however many stars there are.
        let effort = Effort::default();
        let stars = Pattern::of(&("*a".repeat(300) + "*b"));
        assert!(!stars.matches(&text, &effort));
        assert!(effort.steps.load(Ordering::Relaxed) < 400_000);
    }
}
