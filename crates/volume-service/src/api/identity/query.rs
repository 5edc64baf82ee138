//! What the query of a list says, and the frame of its answer.

use axum::Json;
use serde_json::{Value, json};

use super::super::openstack::Fields;
use super::super::openstack::fault::Fault;
use super::fault::Result;
use crate::app::Service;
use crate::app::identity::Listed;

/// The one domain's id.
pub(super) const DOMAIN: &str = "default";

/// The parameters of a query, in order.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query; one that is absent has no parameters.
    pub(super) fn parse(text: Option<String>) -> Result<Self> {
        let pairs: Vec<(String, String)> =
            form_urlencoded::parse(text.unwrap_or_default().as_bytes())
                .into_owned()
                .collect();
        // Filters such as name__contains would be silently ignored, and everything shown.
        if let Some((name, _)) = pairs.iter().find(|(name, _)| name.contains("__")) {
            let name: String = name.chars().take(64).collect();
            return Err(Fault::not_supported(&format!("The filter {name}")).into());
        }
        Ok(Query(pairs))
    }

    /// The first value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(given, _)| given == name);
        found.map(|(_, value)| value.as_str())
    }

    /// A parameter's value of its own.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    /// A flag: everything but the words for false is true, as Keystone reads it; none when it is absent.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        let value = self.get(name)?;
        Some(!matches!(
            value.to_ascii_lowercase().as_str(),
            "0" | "false" | "off" | "no" | "f" | "n"
        ))
    }

    /// How many items are wanted at most.
    pub(super) fn limit(&self) -> Result<Option<usize>> {
        let Some(text) = self.get("limit") else {
            return Ok(None);
        };
        match text.parse() {
            Ok(limit) if limit > 0 => Ok(Some(limit)),
            _ => Err(Fault::BadRequest("limit is not a positive number".to_owned()).into()),
        }
    }

    /// False when the query asks for another domain than the one that there is.
    pub(super) fn is_of_the_domain(&self) -> bool {
        self.get("domain_id").is_none_or(|id| id == DOMAIN)
    }
}

/// The public base of this API, with `/v3`.
pub(super) fn base(service: &Service) -> String {
    let identity = service.config.endpoints.identity.trim_end_matches('/');
    format!("{identity}/v3")
}

/// A whole list.
pub(super) fn collection(
    service: &Service,
    key: &str,
    path: &str,
    items: Vec<Value>,
) -> Json<Value> {
    let own = format!("{}/{path}", base(service));
    Json(json!({key: items, "links": {"self": own, "previous": null, "next": null}}))
}

/// A list that may have been cut: it says so, and where to go on.
pub(super) fn page<T>(
    service: &Service,
    key: &str,
    path: &str,
    listed: &Listed<T>,
    view: impl Fn(&T) -> Value,
) -> Json<Value> {
    let items: Vec<Value> = listed.items.iter().map(view).collect();
    let next = items
        .last()
        .filter(|_| listed.is_truncated)
        .and_then(|last| last["id"].as_str())
        .map(|id| {
            let limit = items.len();
            format!("{}/{path}?limit={limit}&marker={id}", base(service))
        });
    let mut body = collection(service, key, path, items);
    if listed.is_truncated {
        body.0["truncated"] = json!(true);
        body.0["links"]["next"] = json!(next);
    }
    body
}

/// A boolean of a body; null and absent are the same.
pub(super) fn boolean(fields: Fields<'_>, key: &str) -> Result<Option<bool>> {
    match fields.value(key) {
        None => Ok(None),
        Some(Value::Bool(value)) => Ok(Some(*value)),
        Some(_) => Err(bad(key, "is not of type 'boolean'")),
    }
}

/// A list of texts of a body; null and absent are the same.
pub(super) fn texts(fields: Fields<'_>, key: &str) -> Result<Option<Vec<String>>> {
    let Some(value) = fields.value(key) else {
        return Ok(None);
    };
    let items = value
        .as_array()
        .ok_or_else(|| bad(key, "is not of type 'array'"))?;
    let text = |item: &Value| item.as_str().map(str::to_owned);
    items
        .iter()
        .map(|item| text(item).ok_or_else(|| bad(key, "has an item that is not of type 'string'")))
        .collect::<Result<_>>()
        .map(Some)
}

/// Refuses another domain than the one that there is, and options, of which none is built.
pub(super) fn check_common(fields: Fields<'_>) -> Result<()> {
    if let Some(domain) = fields.text("domain_id")?
        && domain != DOMAIN
    {
        return Err(crate::app::identity::missing("domain", domain).into());
    }
    if fields
        .value("options")
        .is_some_and(|value| *value != json!({}))
    {
        return Err(Fault::not_supported("An option of a user or project").into());
    }
    Ok(())
}

pub(super) fn bad(key: &str, reason: &str) -> super::fault::IdentityFault {
    Fault::BadRequest(format!(
        "Invalid input for field '{key}': the value {reason}"
    ))
    .into()
}
