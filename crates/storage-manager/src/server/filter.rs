//! The query language of `get_all_records_where`.
//!
//! ```text
//! query = all { "or" all }        all = one { "and" one }
//! one   = "not" "(" query ")" | "(" query ")" | "true" | "false" | side "=" side
//! side  = "field" text | text     text = '"' anything but '"' '"'
//! ```
//!
//! Source: reference "Generated messages"; golden 02 and 11. Field names are those of the database, in which the parts of
//! a name are joined by two underscores (`name__label`).

use xenapi::{Failure, Value};

use crate::database::{Object, Objects};

/// Deepest nesting of a query.
const MAX_DEPTH: usize = 32;

/// Longest query in bytes.
const MAX_BYTES: usize = 64 * 1024;

/// A parsed query.
#[derive(Debug, PartialEq)]
pub enum Filter {
    /// `true` or `false`.
    Constant(bool),
    /// `=`.
    Equal(Side, Side),
    /// `and`.
    And(Box<Filter>, Box<Filter>),
    /// `or`.
    Or(Box<Filter>, Box<Filter>),
    /// `not`.
    Not(Box<Filter>),
}

/// One side of a comparison.
#[derive(Debug, PartialEq)]
pub enum Side {
    /// The value of a field.
    Field(String),
    /// A text.
    Literal(String),
}

impl Filter {
    /// Reads a query.
    ///
    /// # Errors
    /// `INVALID_VALUE [query, reason]`.
    pub fn parse(query: &str) -> Result<Filter, Failure> {
        let wrong = |reason: &str| Failure::new("INVALID_VALUE", [query, reason]);
        if query.len() > MAX_BYTES {
            return Err(wrong("the query is too long"));
        }
        let tokens = tokens(query).map_err(wrong)?;
        let mut parser = Parser {
            tokens: &tokens,
            depth: 0,
        };
        let filter = parser.any().map_err(wrong)?;
        if parser.tokens.is_empty() {
            Ok(filter)
        } else {
            Err(wrong("text follows the query"))
        }
    }

    /// Says whether an object matches.
    ///
    /// # Errors
    /// `INTERNAL_ERROR ["missing field", field, ""]`, as a real pool answers.
    pub fn matches(&self, objects: &Objects, object: &Object) -> Result<bool, Failure> {
        Ok(match self {
            Filter::Constant(truth) => *truth,
            Filter::Equal(left, right) => {
                let left = left.text(objects, object)?;
                left.is_some() && left == right.text(objects, object)?
            }
            Filter::And(left, right) => {
                left.matches(objects, object)? && right.matches(objects, object)?
            }
            Filter::Or(left, right) => {
                left.matches(objects, object)? || right.matches(objects, object)?
            }
            Filter::Not(inner) => !inner.matches(objects, object)?,
        })
    }
}

impl Side {
    /// The text to compare; nothing for sets and maps, which equal nothing.
    fn text(&self, objects: &Objects, object: &Object) -> Result<Option<String>, Failure> {
        let field = match self {
            Side::Literal(text) => return Ok(Some(text.clone())),
            Side::Field(field) => field,
        };
        let missing = || Failure::new("INTERNAL_ERROR", ["missing field", field, ""]);
        if matches!(field.as_str(), "name_label" | "name_description") {
            return Err(missing());
        }
        let index = object
            .class
            .find_index(&field.replace("__", "_"))
            .ok_or_else(missing)?;
        Ok(match objects.value(object, index) {
            Value::String(text) => Some(text),
            Value::Bool(truth) => Some(truth.to_string()),
            Value::Int(number) => Some(number.to_string()),
            Value::DateTime(seconds) => xenapi::date::format(seconds),
            _ => None,
        })
    }
}

#[derive(Debug, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    Text(&'a str),
    Open,
    Close,
    Equals,
}

fn tokens(query: &str) -> Result<Vec<Token<'_>>, &'static str> {
    let mut tokens = Vec::new();
    let mut rest = query.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '=' => (Token::Equals, 1),
            '"' => {
                let end = rest[1..].find('"').ok_or("a text is not closed")?;
                (Token::Text(&rest[1..=end]), end + 2)
            }
            letter if letter.is_ascii_alphabetic() => {
                let end = rest
                    .find(|c: char| !c.is_ascii_alphabetic())
                    .unwrap_or(rest.len());
                (Token::Word(&rest[..end]), end)
            }
            _ => return Err("a character has no meaning here"),
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

struct Parser<'a> {
    tokens: &'a [Token<'a>],
    depth: usize,
}

impl<'a> Parser<'a> {
    fn next(&mut self) -> Option<&'a Token<'a>> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    fn skip(&mut self, token: &Token<'_>) -> bool {
        let found = self.tokens.first() == Some(token);
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }

    fn any(&mut self) -> Result<Filter, &'static str> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("the query is nested too deeply");
        }
        let mut filter = self.all()?;
        while self.skip(&Token::Word("or")) {
            filter = Filter::Or(Box::new(filter), Box::new(self.all()?));
        }
        self.depth -= 1;
        Ok(filter)
    }

    fn all(&mut self) -> Result<Filter, &'static str> {
        let mut filter = self.one()?;
        while self.skip(&Token::Word("and")) {
            filter = Filter::And(Box::new(filter), Box::new(self.one()?));
        }
        Ok(filter)
    }

    fn one(&mut self) -> Result<Filter, &'static str> {
        match self.tokens.first() {
            Some(Token::Word("not")) => {
                self.next();
                if !self.skip(&Token::Open) {
                    return Err("expected ( after not");
                }
                let inner = self.any()?;
                if self.skip(&Token::Close) {
                    Ok(Filter::Not(Box::new(inner)))
                } else {
                    Err("expected )")
                }
            }
            Some(Token::Open) => {
                self.next();
                let inner = self.any()?;
                if self.skip(&Token::Close) {
                    Ok(inner)
                } else {
                    Err("expected )")
                }
            }
            Some(Token::Word("true")) => {
                self.next();
                Ok(Filter::Constant(true))
            }
            Some(Token::Word("false")) => {
                self.next();
                Ok(Filter::Constant(false))
            }
            _ => {
                let left = self.side()?;
                if !self.skip(&Token::Equals) {
                    return Err("expected =");
                }
                Ok(Filter::Equal(left, self.side()?))
            }
        }
    }

    fn side(&mut self) -> Result<Side, &'static str> {
        match self.next() {
            Some(Token::Text(text)) => Ok(Side::Literal((*text).to_owned())),
            Some(Token::Word("field")) => match self.next() {
                Some(Token::Text(text)) => Ok(Side::Field((*text).to_owned())),
                _ => Err("expected a field's name in quotes"),
            },
            _ => Err("expected field or a text in quotes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equal(field: &str, text: &str) -> Filter {
        Filter::Equal(
            Side::Field(field.to_owned()),
            Side::Literal(text.to_owned()),
        )
    }

    #[test]
    fn and_binds_closer_than_or() {
        let query = r#"field "a" = "1" or field "b" = "2" and not (field "c" = "3")"#;
        let right = Filter::And(
            Box::new(equal("b", "2")),
            Box::new(Filter::Not(Box::new(equal("c", "3")))),
        );
        assert_eq!(
            Filter::parse(query),
            Ok(Filter::Or(Box::new(equal("a", "1")), Box::new(right)))
        );
        assert_eq!(Filter::parse("true"), Ok(Filter::Constant(true)));
    }

    #[test]
    fn refuses_what_is_no_query() {
        for query in [
            "",
            "not a query",
            "field",
            "(true",
            "true true",
            "field \"a\" = ",
            "\"open",
            "\u{e9}",
            "not true",
        ] {
            let failure = Filter::parse(query).unwrap_err();
            assert_eq!(
                (failure.code.as_str(), failure.params[0].as_str()),
                ("INVALID_VALUE", query)
            );
        }
        assert!(Filter::parse(&"(".repeat(60_000)).is_err());
    }
}
