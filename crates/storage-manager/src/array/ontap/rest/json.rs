//! Reading answers: fields by dotted paths. ONTAP writes numbers and truth values as such or as texts, and an object with dots in
//! its keys or as objects in objects.

use serde_json::Value;
use uuid::Uuid;

/// What a dotted path leads to.
fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    if let Some(found) = value.get(path) {
        return Some(found);
    }
    let mut from = 0;
    while let Some(dot) = path[from..].find('.') {
        let dot = from + dot;
        if let Some(found) = value
            .get(&path[..dot])
            .and_then(|it| at(it, &path[dot + 1..]))
        {
            return Some(found);
        }
        from = dot + 1;
    }
    None
}

/// A text.
pub fn text<'a>(value: &'a Value, path: &str) -> Option<&'a str> {
    at(value, path)?.as_str()
}

/// The uuid of an object. Whatever else is in its place must not become part of a path: `/storage/luns/` means all LUNs.
pub fn id<'a>(value: &'a Value, path: &str) -> Option<&'a str> {
    text(value, path).filter(|id| id.len() == 36 && Uuid::parse_str(id).is_ok())
}

/// A number that is not negative.
pub fn number(value: &Value, path: &str) -> Option<u64> {
    let found = at(value, path)?;
    found.as_u64().or_else(|| found.as_str()?.parse().ok())
}

/// A truth value.
pub fn flag(value: &Value, path: &str) -> Option<bool> {
    let found = at(value, path)?;
    found.as_bool().or_else(|| found.as_str()?.parse().ok())
}

/// The elements of a list; none where there is no list.
pub fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    at(value, path)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_forms_are_read() {
        for value in [
            json!({"space": {"size": 5, "thin": true}, "a": [1, 2]}),
            json!({"space.size": "5", "space.thin": "true", "a": [1, 2]}),
            json!({"space": {"size": "5", "thin": "true"}, "a": [1, 2]}),
        ] {
            assert_eq!(number(&value, "space.size"), Some(5));
            assert_eq!(flag(&value, "space.thin"), Some(true));
            assert_eq!(list(&value, "a").len(), 2);
            assert_eq!(text(&value, "space.none"), None);
            assert_eq!(number(&value, "a.b.c"), None);
        }
        assert_eq!(text(&json!(null), "a.b"), None);
        assert_eq!(number(&json!({"a": -1}), "a"), None);
    }
}
