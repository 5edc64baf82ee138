//! The table of actions as JSON, for who compares it with EC2's own model.

use serde_json::{Value, json};

use super::fault::Code;
use super::route::{ACTIONS, Action, Element};
use super::schema::{Kind, Parameter, Support};

/// Every action with its parameters, filters and elements, and every error code.
pub fn ec2_table() -> Value {
    let actions: serde_json::Map<String, Value> = ACTIONS
        .iter()
        .copied()
        .flatten()
        .map(|action| (action.name.to_owned(), of_action(action)))
        .collect();
    let codes: Vec<Value> = Code::ALL
        .iter()
        .map(|code| {
            let (word, status) = code.word_and_status();
            json!({"code": word, "status": status.as_u16()})
        })
        .collect();
    json!({"actions": actions, "codes": codes})
}

fn of_action(action: &Action) -> Value {
    let rules: Vec<&str> = action.rules.iter().map(|rule| rule.name()).collect();
    json!({
        "rules": rules,
        "parameters": parameters(action.parameters),
        "filters": action.filters,
        "pages": action.paging.is_some(),
        "dry_run": format!("{:?}", action.dry_run),
        "answer": elements(action.answer),
        "remark": action.remark,
    })
}

/// Parameters as they are sent, with `N` for a place in a list.
fn parameters(schema: &[Parameter]) -> Value {
    let mut found = Vec::new();
    for parameter in schema {
        flatten("", parameter, &mut found);
    }
    found.into()
}

fn flatten(prefix: &str, parameter: &Parameter, found: &mut Vec<Value>) {
    let name = format!("{prefix}{}", parameter.name);
    let (name, parts) = match parameter.kind {
        Kind::Struct(parts) => (format!("{name}."), parts),
        Kind::Structs(parts, _) => (format!("{name}.N."), parts),
        Kind::List(..) => (format!("{name}.N"), &[][..]),
        _ => (name, &[][..]),
    };
    if parts.is_empty() {
        found.push(json!({
            "name": name,
            "required": parameter.required.is_some(),
            "built": parameter.state == Support::Built,
        }));
    }
    for part in parts {
        let part = Parameter {
            state: parameter.state,
            ..*part
        };
        flatten(&name, &part, found);
    }
}

/// Names of elements, with what is in them.
fn elements(answer: &[Element]) -> Value {
    let found: serde_json::Map<String, Value> = answer
        .iter()
        .map(|element| (element.name.to_owned(), elements(element.inner)))
        .collect();
    found.into()
}
