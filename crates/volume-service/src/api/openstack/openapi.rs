//! The table of routes as an OpenAPI 3.1 document, in the words of one microversion.

use std::sync::OnceLock;

use serde_json::{Map, Value, json};

use super::TABLES;
use super::microversion::Microversion;
use super::openapi_parts::name_parts;
use super::route::{Access, Action, Route, Support};
use super::schema::{FALSE_WORDS, Field, Schema, TRUE_WORDS};

/// What clients may read of the API before they have a token.
const DESCRIPTION: &str = "OpenStack Block Storage v3 as xensm serves it. A request is answered in the microversion that its \
    header `OpenStack-API-Version: volume 3.X` asks for, 3.0 without one; this document is about the one of `info.version`. Every \
    path is also served with a project: `/v3/{project_id}/...`.";

/// The documents that were asked for, as texts; they are the same for everybody.
static TEXTS: [OnceLock<String>; Microversion::COUNT] =
    [const { OnceLock::new() }; Microversion::COUNT];

/// The text of the document of a microversion, which is made once.
pub(super) fn openapi_text(version: Microversion) -> &'static str {
    TEXTS[version.place()].get_or_init(|| openapi(version).to_string())
}

/// The document of a microversion.
pub fn openapi(version: Microversion) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in TABLES.iter().copied().flatten() {
        if !version.at_least(route.since) {
            continue;
        }
        let path = format!("/v3{}", route.path);
        let verb = route.verb.as_str().to_lowercase();
        let item = paths.entry(path).or_insert_with(|| json!({}));
        item[verb] = operation(route, version);
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Block Storage",
            "version": version.to_string(),
            "description": DESCRIPTION,
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"},
            },
            "responses": {"refused": {
                "description": "It was refused, or failed.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/fault"}}},
            }},
            "schemas": {"boolean": boolean(), "fault": fault()},
        },
    });
    name_parts(&mut document);
    document
}

/// True, false, and the words that are taken for them.
fn boolean() -> Value {
    let words: Vec<&str> = TRUE_WORDS.into_iter().chain(FALSE_WORDS).collect();
    json!({"anyOf": [{"type": "boolean"}, {"enum": words}]})
}

/// What every refusal looks like: the name of the fault, and in it the status and the reason.
fn fault() -> Value {
    json!({
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "integer"},
                "message": {"type": "string"},
                "title": {"type": "string"},
            },
        },
    })
}

fn operation(route: &Route, version: Microversion) -> Value {
    let mut operation = json!({
        "operationId": operation_id(route),
        "tags": [route.path.split('/').nth(1).unwrap_or_default()],
        "responses": responses(route, version),
    });
    operation["security"] = match route.access {
        Access::Open => json!([]),
        Access::Token | Access::Rule(_) | Access::Actions(_) => json!([{"token": []}]),
    };
    if let Some(rule) = route.rule_of_all() {
        operation["x-policy"] = json!(rule.name());
    }
    if route.since > 0 {
        operation["x-since"] = json!(format!("3.{}", route.since));
    }
    if route.state == Support::Refused {
        operation["x-support"] = json!("refused");
    }
    let parameters = parameters(route, version);
    if !parameters.is_empty() {
        operation["parameters"] = json!(parameters);
    }
    let body = match route.access {
        Access::Actions(actions) => Some(body_of_actions(actions, version)),
        _ => route.body.map(|body| schema(body, version)),
    };
    if let Some(body) = body {
        operation["requestBody"] = json!({
            "required": true,
            "content": {"application/json": {"schema": body}},
        });
    }
    operation
}

/// `get_volumes_id_metadata`
fn operation_id(route: &Route) -> String {
    let words = route
        .path
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let mut id = route.verb.as_str().to_lowercase();
    for word in words {
        id.push('_');
        id.push_str(word);
    }
    // The root is there twice, with a slash behind it and without.
    if route.path == "/" {
        id.push_str("_root");
    }
    id
}

fn known(
    actions: &'static [Action],
    version: Microversion,
) -> impl Iterator<Item = &'static Action> {
    actions
        .iter()
        .filter(move |action| version.at_least(action.since))
}

fn body_of_actions(actions: &'static [Action], version: Microversion) -> Value {
    let forms: Vec<Value> = known(actions, version)
        .map(|action| {
            let mut form = json!({
                "type": "object",
                "required": [action.name],
                "additionalProperties": false,
                "properties": {action.name: schema(action.body, version)},
                "x-policy": action.rule.name(),
            });
            if action.state == Support::Refused {
                form["x-support"] = json!("refused");
            }
            form
        })
        .collect();
    json!({ "oneOf": forms })
}

fn responses(route: &Route, version: Microversion) -> Value {
    let mut responses: Map<String, Value> = Map::new();
    match route.access {
        Access::Actions(actions) => {
            let mut statuses: Vec<u16> = known(actions, version).map(|a| a.status).collect();
            statuses.sort_unstable();
            statuses.dedup();
            for status in statuses {
                // Where one of them answers without a body, nothing is said of the others'.
                let forms: Option<Vec<Value>> = known(actions, version)
                    .filter(|action| action.status == status)
                    .map(|action| Some(schema(action.answer?, version)))
                    .collect();
                let form = forms.map(|forms| json!({ "anyOf": forms }));
                responses.insert(status.to_string(), answer(form));
            }
        }
        _ => {
            let form = route.answer.map(|answer| schema(answer, version));
            responses.insert(route.status.to_string(), answer(form));
        }
    }
    let refused = json!({"$ref": "#/components/responses/refused"});
    responses.insert("default".to_owned(), refused);
    Value::Object(responses)
}

fn answer(form: Option<Value>) -> Value {
    let mut answer = json!({"description": "It was done, or will be."});
    if let Some(form) = form {
        answer["content"] = json!({"application/json": {"schema": form}});
    }
    answer
}

fn parameters(route: &Route, version: Microversion) -> Vec<Value> {
    let of_path = route.path.split('/').filter_map(|segment| {
        let name = segment.strip_prefix('{')?.strip_suffix('}')?;
        Some(json!({
            "name": name,
            "in": "path",
            "required": true,
            "schema": {"type": "string", "minLength": 1},
        }))
    });
    let of_query = route
        .query
        .iter()
        .filter(|field| version.at_least(field.since))
        .map(|field| {
            json!({
                "name": field.name,
                "in": "query",
                "required": field.required,
                "schema": schema(&field.schema, version),
            })
        });
    of_path.chain(of_query).collect()
}

/// A schema in JSON Schema's words.
fn schema(form: &Schema, version: Microversion) -> Value {
    match form {
        Schema::Any => json!({}),
        Schema::TrueOrFalse => json!({"type": "boolean"}),
        Schema::Boolean => json!({"$ref": "#/components/schemas/boolean"}),
        Schema::Text { min, max, pattern } => {
            let mut text = json!({"type": "string"});
            if *min > 0 {
                text["minLength"] = json!(min);
            }
            if *max < usize::MAX {
                text["maxLength"] = json!(max);
            }
            if let Some(pattern) = pattern {
                text["pattern"] = json!(pattern.expression);
            }
            text
        }
        Schema::Integer { min, max, as_text } => {
            let number = json!({"type": "integer", "minimum": min, "maximum": max});
            if *as_text {
                json!({"anyOf": [number, {"type": "string", "pattern": "^-?[0-9]+$"}]})
            } else {
                number
            }
        }
        Schema::Uuid => json!({"type": "string", "format": "uuid"}),
        Schema::Words(words) => json!({ "enum": words }),
        Schema::Object {
            fields,
            closed_since,
            some_since,
            not_empty,
        } => {
            let mut object = object(fields, version);
            if closed_since.is_some_and(|since| version.at_least(since)) {
                object["additionalProperties"] = json!(false);
            }
            if *not_empty || some_since.is_some_and(|since| version.at_least(since)) {
                object["minProperties"] = json!(1);
            }
            object
        }
        Schema::Map {
            key,
            value,
            min,
            max,
        } => {
            let mut map = json!({
                "type": "object",
                "propertyNames": {"pattern": key.expression},
                "additionalProperties": schema(value, version),
            });
            if *min > 0 {
                map["minProperties"] = json!(min);
            }
            if *max < usize::MAX {
                map["maxProperties"] = json!(max);
            }
            map
        }
        Schema::List { item, min } => {
            json!({"type": "array", "items": schema(item, version), "minItems": min})
        }
        Schema::OrNull(inner) => json!({"anyOf": [schema(inner, version), {"type": "null"}]}),
        Schema::OneOf(forms) => {
            let forms: Vec<Value> = forms.iter().map(|form| schema(form, version)).collect();
            json!({ "anyOf": forms })
        }
    }
}

fn object(fields: &[Field], version: Microversion) -> Value {
    let known = || fields.iter().filter(|field| version.at_least(field.since));
    let mut properties = Map::new();
    for field in known() {
        properties.insert(field.name.to_owned(), schema(&field.schema, version));
    }
    let required: Vec<&str> = known()
        .filter(|field| field.required)
        .map(|field| field.name)
        .collect();
    let mut object = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}
