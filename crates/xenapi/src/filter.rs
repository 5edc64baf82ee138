//! The query language of `get_all_where` and `get_all_records_where`.
//!
//! `field "type" = "file" and not (field "shared" = "true")`. Texts are in double quotes, without escapes; `not` binds
//! tighter than `and`, and `and` tighter than `or`; either side of `=` is a text or a field.

use crate::schema::Class;
use crate::{Failure, Value, date};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The longest expression, in bytes.
pub const MAX_BYTES: usize = 16 * 1024;

/// The deepest nesting of parentheses and `not`.
pub const MAX_DEPTH: usize = 64;

/// A parsed expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// `true` or `false`.
    Constant(bool),
    /// `left = right`.
    Equal(Operand, Operand),
    /// `not inner`.
    Not(Box<Filter>),
    /// All of them.
    And(Vec<Filter>),
    /// Any of them.
    Or(Vec<Filter>),
}

/// One side of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// `"text"`.
    Text(String),
    /// `field "name"`.
    Field(String),
}

/// Parses an expression.
///
/// # Errors
/// `INVALID_VALUE [expression, reason]`, also when the expression exceeds [`MAX_BYTES`] or [`MAX_DEPTH`].
pub fn parse(expression: &str) -> Result<Filter, Failure> {
    let invalid = |reason: &str| Failure::filter_invalid(expression, reason);
    if expression.len() > MAX_BYTES {
        return Err(Failure::filter_invalid("", "the expression is too long"));
    }
    let tokens = tokens(expression).map_err(invalid)?;
    let mut parser = Parser {
        tokens: tokens.into_iter().peekable(),
    };
    let filter = parser.or(0).map_err(invalid)?;
    match parser.tokens.next() {
        None => Ok(filter),
        Some(_) => Err(invalid("text after the end of the expression")),
    }
}

impl Filter {
    /// Tells whether an object is selected; the closure gives the text of a field, or nothing when there is no such
    /// field.
    ///
    /// # Errors
    /// `INTERNAL_ERROR ["missing field", name, ""]` when a field is asked for that the object has not.
    pub fn matches<'a, F>(&self, field: &F) -> Result<bool, Failure>
    where
        F: Fn(&str) -> Option<Cow<'a, str>>,
    {
        Ok(match self {
            Filter::Constant(truth) => *truth,
            Filter::Equal(left, right) => left.text(field)? == right.text(field)?,
            Filter::Not(inner) => !inner.matches(field)?,
            Filter::And(parts) => {
                for part in parts {
                    if !part.matches(field)? {
                        return Ok(false);
                    }
                }
                true
            }
            Filter::Or(parts) => {
                for part in parts {
                    if part.matches(field)? {
                        return Ok(true);
                    }
                }
                false
            }
        })
    }

    /// Tells whether a record of the class is selected. Fields are named as in [`crate::schema::Field::filter_name`].
    ///
    /// # Errors
    /// As [`Filter::matches`].
    pub fn matches_record(
        &self,
        class: &Class,
        record: &BTreeMap<String, Value>,
    ) -> Result<bool, Failure> {
        self.matches(&|name: &str| {
            let field = class.filter_field(name)?;
            record.get(field.name).map(text)
        })
    }

    /// When the expression is, or demands, that one field equals a text: that text. It serves to use an index.
    pub fn required_text(&self, field: &str) -> Option<&str> {
        match self {
            Filter::Equal(Operand::Field(name), Operand::Text(text))
            | Filter::Equal(Operand::Text(text), Operand::Field(name))
                if name == field =>
            {
                Some(text)
            }
            Filter::And(parts) => parts.iter().find_map(|part| part.required_text(field)),
            _ => None,
        }
    }
}

impl Operand {
    fn text<'s, 'a: 's, F>(&'s self, field: &F) -> Result<Cow<'s, str>, Failure>
    where
        F: Fn(&str) -> Option<Cow<'a, str>>,
    {
        match self {
            Operand::Text(text) => Ok(Cow::Borrowed(text)),
            Operand::Field(name) => field(name).ok_or_else(|| Failure::filter_field_missing(name)),
        }
    }
}

/// The text as which the language sees a value: `true`, digits, a reference; sets as `('a' 'b')` and maps as
/// `(('key' 'value'))`.
pub fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Nil => Cow::Borrowed(""),
        Value::String(text) => Cow::Borrowed(text),
        Value::Int(number) => Cow::Owned(number.to_string()),
        Value::Int32(number) => Cow::Owned(number.to_string()),
        Value::Float(number) => Cow::Owned(number.to_string()),
        Value::Bool(true) => Cow::Borrowed("true"),
        Value::Bool(false) => Cow::Borrowed("false"),
        Value::DateTime(seconds) => Cow::Owned(date::format(*seconds).unwrap_or_default()),
        Value::Array(elements) => {
            let elements: Vec<String> = elements
                .iter()
                .map(|element| format!("'{}'", text(element)))
                .collect();
            Cow::Owned(format!("({})", elements.join(" ")))
        }
        Value::Struct(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|(name, member)| format!("('{name}' '{}')", text(member)))
                .collect();
            Cow::Owned(format!("({})", members.join(" ")))
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Field,
    And,
    Or,
    Not,
    Constant(bool),
    Equal,
    Open,
    Close,
    Text(String),
}

fn tokens(expression: &str) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::new();
    let mut rest = expression.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '=' => (Token::Equal, 1),
            '"' => {
                let end = rest[1..].find('"').ok_or("a quote is not closed")?;
                (Token::Text(rest[1..=end].to_owned()), end + 2)
            }
            _ => {
                let end = rest
                    .find(|next: char| !next.is_ascii_alphabetic())
                    .unwrap_or(rest.len());
                let token = match &rest[..end] {
                    "field" => Token::Field,
                    "and" => Token::And,
                    "or" => Token::Or,
                    "not" => Token::Not,
                    "true" => Token::Constant(true),
                    "false" => Token::Constant(false),
                    _ => return Err("a word is not known"),
                };
                (token, end)
            }
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
}

impl Parser {
    fn take(&mut self, token: &Token) -> bool {
        self.tokens.next_if_eq(token).is_some()
    }

    fn or(&mut self, depth: usize) -> Result<Filter, &'static str> {
        let mut parts = vec![self.and(depth)?];
        while self.take(&Token::Or) {
            parts.push(self.and(depth)?);
        }
        Ok(if parts.len() == 1 {
            parts.remove(0)
        } else {
            Filter::Or(parts)
        })
    }

    fn and(&mut self, depth: usize) -> Result<Filter, &'static str> {
        let mut parts = vec![self.not(depth)?];
        while self.take(&Token::And) {
            parts.push(self.not(depth)?);
        }
        Ok(if parts.len() == 1 {
            parts.remove(0)
        } else {
            Filter::And(parts)
        })
    }

    fn not(&mut self, depth: usize) -> Result<Filter, &'static str> {
        if depth > MAX_DEPTH {
            return Err("the expression is nested too deep");
        }
        if self.take(&Token::Not) {
            return Ok(Filter::Not(Box::new(self.not(depth + 1)?)));
        }
        if self.take(&Token::Open) {
            let inner = self.or(depth + 1)?;
            return if self.take(&Token::Close) {
                Ok(inner)
            } else {
                Err("a parenthesis is not closed")
            };
        }
        if let Some(Token::Constant(truth)) = self.tokens.peek() {
            let truth = *truth;
            self.tokens.next();
            return Ok(Filter::Constant(truth));
        }
        let left = self.operand()?;
        if !self.take(&Token::Equal) {
            return Err("an equals sign is missing");
        }
        Ok(Filter::Equal(left, self.operand()?))
    }

    fn operand(&mut self) -> Result<Operand, &'static str> {
        match self.tokens.next() {
            Some(Token::Text(text)) => Ok(Operand::Text(text)),
            Some(Token::Field) => match self.tokens.next() {
                Some(Token::Text(name)) => Ok(Operand::Field(name)),
                _ => Err("the name of a field is missing"),
            },
            _ => Err("a text or a field is missing"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn judge(expression: &str) -> Result<bool, Failure> {
        let fields = [("uuid", "u"), ("managed", "true"), ("size", "8")];
        let field = |name: &str| {
            fields
                .iter()
                .find(|(field, _)| *field == name)
                .map(|(_, text)| Cow::Borrowed(*text))
        };
        parse(expression)?.matches(&field)
    }

    #[test]
    fn the_language() {
        for (expression, expected) in [
            ("true", true),
            ("false", false),
            (r#"field "uuid" = "u""#, true),
            (r#""u"=field"uuid""#, true),
            (r#"field "uuid" = field "managed""#, false),
            (r#"not (field "managed" = "true")"#, false),
            ("not not true", true),
            ("true or false and false", true),
            ("(true or false) and false", false),
            ("not false and false", false),
            (r#"field "managed" = "true" and field "size" = "8""#, true),
        ] {
            assert_eq!(judge(expression), Ok(expected), "{expression}");
        }
    }

    #[test]
    fn what_is_refused() {
        for expression in [
            "",
            "not a query",
            "(true",
            "true true",
            r#"field "x"#,
            r#"field = "x""#,
            r#""x""#,
            "and",
        ] {
            let failure = judge(expression).unwrap_err();
            assert_eq!(
                (failure.code.as_str(), failure.params[0].as_str()),
                ("INVALID_VALUE", expression)
            );
        }
        assert!(parse(&"(".repeat(MAX_BYTES)).is_err());
        assert!(parse(&"not ".repeat(MAX_DEPTH + 2)).is_err());
        assert!(parse(&" ".repeat(MAX_BYTES + 1)).is_err());
        let failure = judge(r#"field "bogus" = "x""#).unwrap_err();
        assert_eq!(
            failure,
            Failure::new("INTERNAL_ERROR", ["missing field", "bogus", ""])
        );
    }

    #[test]
    fn the_text_that_is_demanded() {
        let filter = parse(r#"field "a" = "1" and field "b" = "2""#).unwrap();
        assert_eq!(filter.required_text("b"), Some("2"));
        assert_eq!(
            parse(r#"field "a" = "1" or true"#)
                .unwrap()
                .required_text("a"),
            None
        );
    }

    proptest! {
        #[test]
        fn any_expression_is_judged(expression in r#"((field|and|or|not|true|=|\(|\)|"[a-z]*"| ){0,30})|\PC{0,40}"#) {
            let _ = judge(&expression);
        }
    }
}
