//! Values as Python prints them, which is how Cinder's messages show them; cut to a bounded length.

use serde_json::Value;

/// How much of a refused value is repeated to the client, in characters.
const SHOWN_MAX_CHARS: usize = 200;

/// A value as Python prints it, which is how Cinder's messages show it; cut to a bounded length.
pub(super) fn shown(value: &Value) -> String {
    if let Value::String(text) = value {
        return quoted(text);
    }
    let mut text = String::new();
    print_python(value, &mut text);
    clipped(text)
}

/// The text, cut.
pub(super) fn clipped(text: String) -> String {
    match text.char_indices().nth(SHOWN_MAX_CHARS) {
        None => text,
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

/// The text in quotes.
pub(super) fn quoted(text: &str) -> String {
    let text = clipped(text.to_owned());
    if text.contains('\'') && !text.contains('"') {
        format!("\"{text}\"")
    } else {
        format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
    }
}

fn print_python(value: &Value, out: &mut String) {
    if out.len() > 4 * SHOWN_MAX_CHARS {
        return;
    }
    match value {
        Value::Null => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::String(text) => out.push_str(&quoted(text)),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                print_python(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (index, (key, item)) in map.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                out.push_str(&quoted(key));
                out.push_str(": ");
                print_python(item, out);
            }
            out.push('}');
        }
    }
}
