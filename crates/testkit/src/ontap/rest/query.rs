//! Queries of the REST API: filters, fields, order, pages.

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use super::pattern::fits;
use crate::ontap::state::error::ApiError;

/// Records of a page unless the query says otherwise.
const PAGE: usize = 10_000;
/// Words of a query that are no fields.
const WORDS: [&str; 10] = [
    "fields",
    "max_records",
    "return_records",
    "return_timeout",
    "order_by",
    "start.index",
    "allow_delete_while_mapped",
    "force",
    "ignore_unknown_fields",
    "query_fields",
];

/// The parameters of a request, decoded, in their order.
#[derive(Debug, Clone, Default)]
pub struct Query(pub Vec<(String, String)>);

/// Which links an answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Those of the collection only: to a client that accepts plain JSON and nothing else.
    Collection,
    /// Those of each record as well.
    All,
}

/// What is known of a collection's records.
#[derive(Debug, Clone, Copy)]
pub struct Fields {
    /// What the path of a record ends with.
    pub id: &'static [&'static str],
    /// Which fields come back unasked.
    pub keys: &'static [&'static str],
    /// The fields, or the beginnings of their names.
    pub known: &'static [&'static str],
    /// The fields that come back only when they are named.
    pub expensive: &'static [&'static str],
}

impl Query {
    /// Reads a query as clients send it: escaped or not.
    pub fn parse(text: &str) -> Self {
        let decode = |text: &str| {
            percent_decode_str(&text.replace('+', " "))
                .decode_utf8_lossy()
                .into_owned()
        };
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Query(
            pairs
                .map(|(name, value)| (decode(name), decode(value)))
                .collect(),
        )
    }

    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether a parameter is true.
    ///
    /// A second question mark ends the value: a client is known that sends `return_records=false?max_records=10000`, and a real
    /// array accepts it.
    pub fn flag(&self, name: &str, default: bool) -> bool {
        let value = self
            .get(name)
            .map(|value| value.split('?').next().unwrap_or(""));
        value.map_or(default, |value| value == "true")
    }

    /// Seconds that the request waits for its job.
    ///
    /// # Errors
    /// 262247 when that is no number from 0 to 120.
    pub fn return_timeout(&self) -> Result<u32, ApiError> {
        let Some(value) = self.get("return_timeout") else {
            return Ok(0);
        };
        let seconds: Option<u32> = value.parse().ok().filter(|seconds| *seconds <= 120);
        seconds.ok_or_else(|| {
            let text = format!("Invalid value \"{value}\" for field \"return_timeout\" (0..120)");
            ApiError::bad(262_247, text).at("return_timeout")
        })
    }

    /// The records that fit the filters.
    ///
    /// # Errors
    /// 262179 for a field that there is not.
    pub fn select(&self, records: Vec<Value>, fields: &Fields) -> Result<Vec<Value>, ApiError> {
        let mut filters = Vec::new();
        for (name, value) in self
            .0
            .iter()
            .filter(|(name, _)| !WORDS.contains(&name.as_str()))
        {
            let name = if name == "svm" { "svm.name" } else { name };
            if !fields.knows(name) {
                let text = format!("Unexpected argument \"{name}\".");
                return Err(ApiError::bad(262_179, text));
            }
            filters.push((name.to_owned(), value.clone()));
        }
        let fits = |record: &Value| {
            filters.iter().all(|(name, pattern)| {
                let path: Vec<&str> = name.split('.').collect();
                fits(&values_at(record, &path), pattern)
            })
        };
        Ok(records.into_iter().filter(fits).collect())
    }

    /// The answer to a GET of a collection: what fits, with the fields asked for, a page of it.
    ///
    /// # Errors
    /// 262179 and 262197 for fields that there are not.
    pub fn collection(
        &self,
        path: &str,
        records: Vec<Value>,
        fields: &Fields,
        links: Links,
    ) -> Result<Value, ApiError> {
        let mut records = self.select(records, fields)?;
        self.sort(&mut records);
        let start: usize = self
            .get("start.index")
            .and_then(|value| value.parse().ok())
            .unwrap_or(0);
        let most = self
            .get("max_records")
            .and_then(|value| value.parse().ok())
            .unwrap_or(PAGE)
            .max(1);
        let (total, rest) = (records.len(), records.len().saturating_sub(start));
        if !self.flag("return_records", true) {
            return Ok(json!({"num_records": total, "_links": {"self": {"href": path}}}));
        }
        let page: Result<Vec<Value>, ApiError> = records
            .into_iter()
            .skip(start)
            .take(most)
            .map(|record| {
                let href = fields.href(path, &record);
                let mut shown = self.shown(record, fields)?;
                if links == Links::All {
                    shown["_links"] = json!({"self": {"href": href}});
                }
                Ok(shown)
            })
            .collect();
        let page = page?;
        let mut links = json!({"self": {"href": self.href(path, None)}});
        if rest > most {
            links["next"] = json!({"href": self.href(path, Some(start + most))});
        }
        Ok(json!({"num_records": page.len(), "records": page, "_links": links}))
    }

    /// A record with the fields asked for; `all` of them if none were.
    ///
    /// # Errors
    /// 262197 for a field that there is not.
    pub fn instance(&self, record: Value, fields: &Fields) -> Result<Value, ApiError> {
        if self.get("fields").is_some() {
            return self.shown(record, fields);
        }
        Ok(without(record, fields.expensive))
    }

    fn shown(&self, record: Value, fields: &Fields) -> Result<Value, ApiError> {
        let asked: Vec<&str> = self
            .get("fields")
            .map_or_else(Vec::new, |asked| asked.split(',').collect());
        let is_all = asked.contains(&"**");
        if is_all {
            return Ok(record);
        }
        let mut paths: Vec<String> = fields.keys.iter().map(|key| (*key).to_owned()).collect();
        for name in asked
            .iter()
            .filter(|name| **name != "*" && !name.is_empty())
        {
            if !fields.knows(name.trim_end_matches(".*")) {
                let text =
                    format!("The value \"{name}\" is invalid for field \"fields\" (<field,...>)");
                return Err(ApiError::bad(262_197, text).at("fields"));
            }
            paths.push(name.trim_end_matches(".*").to_owned());
        }
        // Fields by which the records were chosen come back as well.
        let filters = self
            .0
            .iter()
            .filter(|(name, _)| !WORDS.contains(&name.as_str()));
        paths.extend(filters.map(|(name, _)| name.clone()));
        if asked.contains(&"*") {
            let named: Vec<&str> = asked.clone();
            let hidden: Vec<&str> = fields
                .expensive
                .iter()
                .copied()
                .filter(|name| !named.contains(name))
                .collect();
            return Ok(without(record, &hidden));
        }
        let paths: Vec<Vec<&str>> = paths.iter().map(|path| path.split('.').collect()).collect();
        let paths: Vec<&[&str]> = paths.iter().map(Vec::as_slice).collect();
        Ok(project(&record, &paths))
    }

    fn sort(&self, records: &mut [Value]) {
        let Some(order) = self.get("order_by") else {
            return;
        };
        let mut words = order.split(' ');
        let path: Vec<&str> = words.next().unwrap_or("").split('.').collect();
        let is_falling = words.next() == Some("desc");
        records.sort_by(|one, other| {
            let [one, other] = [one, other]
                .map(|record| values_at(record, &path).first().map(|value| text(value)));
            if is_falling {
                other.cmp(&one)
            } else {
                one.cmp(&other)
            }
        });
    }

    fn href(&self, path: &str, start: Option<usize>) -> String {
        let own = self.0.iter().filter(|(name, _)| name != "start.index");
        let mut pairs: Vec<String> = own
            .map(|(name, value)| format!("{name}={}", escape(value)))
            .collect();
        pairs.extend(start.map(|start| format!("start.index={start}")));
        match pairs.is_empty() {
            true => path.to_owned(),
            false => format!("{path}?{}", pairs.join("&")),
        }
    }
}

impl Fields {
    /// The path of a record.
    fn href(&self, path: &str, record: &Value) -> String {
        let parts = self.id.iter().flat_map(|id| {
            let id: Vec<&str> = id.split('.').collect();
            values_at(record, &id)
                .into_iter()
                .map(|value| format!("/{}", escape(&text(value))))
        });
        path.to_owned() + &parts.collect::<String>()
    }

    /// Whether there is a field of that name, or fields below it.
    pub fn knows(&self, name: &str) -> bool {
        let below = |long: &str, short: &str| {
            long.strip_prefix(short)
                .is_some_and(|rest| rest.starts_with('.'))
        };
        self.known
            .iter()
            .any(|known| *known == name || below(known, name) || below(name, known))
    }
}

/// The values at a path; several where lists lie on the way.
pub fn values_at<'a>(record: &'a Value, path: &[&str]) -> Vec<&'a Value> {
    match (record, path) {
        (Value::Array(items), _) => items
            .iter()
            .flat_map(|item| values_at(item, path))
            .collect(),
        (_, []) => vec![record],
        (Value::Object(object), [first, rest @ ..]) => object
            .get(*first)
            .map_or_else(Vec::new, |value| values_at(value, rest)),
        _ => Vec::new(),
    }
}

/// A value as a query says it.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn project(record: &Value, paths: &[&[&str]]) -> Value {
    if paths.iter().any(|path| path.is_empty()) {
        return record.clone();
    }
    match record {
        Value::Array(items) => items.iter().map(|item| project(item, paths)).collect(),
        Value::Object(object) => {
            let mut shown = Map::new();
            for (key, value) in object {
                let below: Vec<&[&str]> = paths
                    .iter()
                    .filter(|path| path[0] == key)
                    .map(|path| &path[1..])
                    .collect();
                if !below.is_empty() {
                    shown.insert(key.clone(), project(value, &below));
                }
            }
            Value::Object(shown)
        }
        other => other.clone(),
    }
}

fn without(mut record: Value, hidden: &[&str]) -> Value {
    for name in hidden {
        let (parent, last) = name.rsplit_once('.').unwrap_or(("", name));
        let path = if parent.is_empty() {
            String::new()
        } else {
            format!("/{}", parent.replace('.', "/"))
        };
        if let Some(object) = record.pointer_mut(&path).and_then(Value::as_object_mut) {
            object.remove(last);
        }
    }
    record
}

fn escape(value: &str) -> String {
    percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: Fields = Fields {
        id: &["name"],
        keys: &["name"],
        known: &["name", "space.size", "initiators", "lun_maps"],
        expensive: &["lun_maps"],
    };

    fn records() -> Vec<Value> {
        vec![
            json!({"name": "/vol/v/a", "space": {"size": 10}, "initiators": [{"name": "iqn.x:1"}, {"name": "iqn.y"}]}),
            json!({"name": "/vol/v/b", "space": {"size": 20}, "lun_maps": [1]}),
        ]
    }

    fn names(query: &str) -> Vec<String> {
        let found = Query::parse(query).select(records(), &FIELDS).unwrap();
        found
            .iter()
            .map(|record| record["name"].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn filters_by_value_list_wildcard_range_and_negation() {
        assert_eq!(names("name=/vol/v/a"), ["/vol/v/a"]);
        assert_eq!(names("name=%2Fvol%2Fv%2Fb"), ["/vol/v/b"]);
        assert_eq!(names("name=/vol/*/b|x"), ["/vol/v/b"]);
        assert_eq!(names("space.size=>=20"), ["/vol/v/b"]);
        assert_eq!(names("space.size=1..15"), ["/vol/v/a"]);
        assert_eq!(names("initiators.name=iqn.y,iqn.z"), ["/vol/v/a"]);
        assert_eq!(names("initiators.name=!iqn.y"), ["/vol/v/b"]);
        assert_eq!(names("initiators.name=null"), ["/vol/v/b"]);
        assert_eq!(
            Query::parse("nonsense=1")
                .select(records(), &FIELDS)
                .unwrap_err()
                .code,
            262_179
        );
    }

    #[test]
    fn shows_the_fields_asked_for_page_by_page() {
        let page = |query: &str| {
            Query::parse(query).collection("/api/x", records(), &FIELDS, Links::Collection)
        };
        let first = page("fields=space.size&max_records=1").unwrap();
        assert_eq!(
            first["records"],
            json!([{"name": "/vol/v/a", "space": {"size": 10}}])
        );
        let next = first["_links"]["next"]["href"].as_str().unwrap();
        let second = page(next.split_once('?').unwrap().1).unwrap();
        assert_eq!(second["records"][0]["name"], "/vol/v/b");
        assert_eq!(second["_links"].get("next"), None);
        assert_eq!(
            page("fields=*").unwrap()["records"][1].get("lun_maps"),
            None
        );
        assert_eq!(
            page("fields=lun_maps").unwrap()["records"][1]["lun_maps"],
            json!([1])
        );
        assert_eq!(page("fields=spice").unwrap_err().code, 262_197);
        assert_eq!(
            page("return_records=false?max_records=5").unwrap()["num_records"],
            2
        );
    }
}
