//! Writes calls, responses and single values.

use crate::wire::Error;
use crate::{Failure, Value, date};
use std::fmt::Write as _;

const DECLARATION: &str = "<?xml version=\"1.0\"?>";

/// Writes a method call.
///
/// # Errors
/// [`Error::IllegalCharacter`] or [`Error::DateOutOfRange`] when a parameter cannot be carried.
pub fn write_call(method: &str, params: &[Value]) -> Result<Vec<u8>, Error> {
    let mut body = String::with_capacity(512);
    body.push_str(DECLARATION);
    body.push_str("<methodCall><methodName>");
    escape(&mut body, method)?;
    body.push_str("</methodName><params>");
    for param in params {
        body.push_str("<param>");
        value(&mut body, param)?;
        body.push_str("</param>");
    }
    body.push_str("</params></methodCall>");
    Ok(body.into_bytes())
}

/// Writes the response to a call, in its envelope.
///
/// # Errors
/// As [`write_call`].
pub fn write_response(result: &Result<Value, Failure>) -> Result<Vec<u8>, Error> {
    let mut body = String::with_capacity(1024);
    body.push_str(DECLARATION);
    body.push_str("<methodResponse><params><param><value><struct><member><name>Status</name>");
    match result {
        Ok(result) => {
            body.push_str("<value>Success</value></member><member><name>Value</name>");
            value(&mut body, result)?;
        }
        Err(failure) => {
            body.push_str("<value>Failure</value></member><member><name>ErrorDescription</name><value><array><data>");
            for text in std::iter::once(&failure.code).chain(&failure.params) {
                body.push_str("<value>");
                escape(&mut body, text)?;
                body.push_str("</value>");
            }
            body.push_str("</data></array></value>");
        }
    }
    body.push_str("</member></struct></value></param></params></methodResponse>");
    Ok(body.into_bytes())
}

/// Writes a response without the envelope, as `system.listMethods` answers.
///
/// # Errors
/// As [`write_call`].
pub fn write_bare(result: &Value) -> Result<Vec<u8>, Error> {
    let mut body = String::with_capacity(1024);
    body.push_str(DECLARATION);
    body.push_str("<methodResponse><params><param>");
    value(&mut body, result)?;
    body.push_str("</param></params></methodResponse>");
    Ok(body.into_bytes())
}

/// Writes a fault.
///
/// # Errors
/// As [`write_call`].
pub fn write_fault(code: i32, message: &str) -> Result<Vec<u8>, Error> {
    let mut body = String::with_capacity(256);
    body.push_str(DECLARATION);
    body.push_str("<methodResponse><fault>");
    let fault = Value::from([
        ("faultCode", Value::Int32(code)),
        ("faultString", message.into()),
    ]);
    value(&mut body, &fault)?;
    body.push_str("</fault></methodResponse>");
    Ok(body.into_bytes())
}

/// Writes a single `<value>`, as the `result` of a task holds it.
///
/// # Errors
/// As [`write_call`].
pub fn write_value(content: &Value) -> Result<String, Error> {
    let mut text = String::new();
    value(&mut text, content)?;
    Ok(text)
}

fn value(body: &mut String, content: &Value) -> Result<(), Error> {
    body.push_str("<value>");
    match content {
        Value::Nil => {}
        Value::String(text) => escape(body, text)?,
        Value::Int(number) => number_text(body, number),
        Value::Int32(number) => {
            body.push_str("<i4>");
            number_text(body, number);
            body.push_str("</i4>");
        }
        Value::Float(number) => {
            body.push_str("<double>");
            number_text(body, number);
            body.push_str("</double>");
        }
        Value::Bool(true) => body.push_str("<boolean>1</boolean>"),
        Value::Bool(false) => body.push_str("<boolean>0</boolean>"),
        Value::DateTime(seconds) => {
            body.push_str("<dateTime.iso8601>");
            body.push_str(
                &date::format(*seconds).ok_or(Error::DateOutOfRange { seconds: *seconds })?,
            );
            body.push_str("</dateTime.iso8601>");
        }
        Value::Array(elements) => {
            body.push_str("<array><data>");
            for element in elements {
                value(body, element)?;
            }
            body.push_str("</data></array>");
        }
        Value::Struct(members) => {
            body.push_str("<struct>");
            for (name, member) in members {
                body.push_str("<member><name>");
                escape(body, name)?;
                body.push_str("</name>");
                value(body, member)?;
                body.push_str("</member>");
            }
            body.push_str("</struct>");
        }
    }
    body.push_str("</value>");
    Ok(())
}

fn number_text(body: &mut String, number: impl std::fmt::Display) {
    write!(body, "{number}").expect("writing to a string cannot fail");
}

/// Returns the first character that XML 1.0 cannot carry.
///
/// # Source
/// XML 1.0, production `Char`.
pub fn illegal_character(text: &str) -> Option<char> {
    // Only ASCII control characters and U+FFFE, U+FFFF (first byte 0xEF) are illegal: most text ends here.
    if text.bytes().all(|byte| byte >= 0x20 && byte != 0xEF) {
        return None;
    }
    text.chars().find(|character| {
        matches!(character, '\0'..='\u{8}' | '\u{B}' | '\u{C}' | '\u{E}'..='\u{1F}' | '\u{FFFE}' | '\u{FFFF}')
    })
}

fn escape(body: &mut String, text: &str) -> Result<(), Error> {
    if let Some(character) = illegal_character(text) {
        return Err(Error::IllegalCharacter { character });
    }
    let mut start = 0;
    for (index, byte) in text.bytes().enumerate() {
        let replacement = match byte {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            // A bare CR would be read as LF.
            b'\r' => "&#13;",
            _ => continue,
        };
        body.push_str(&text[start..index]);
        body.push_str(replacement);
        start = index + 1;
    }
    body.push_str(&text[start..]);
    Ok(())
}
