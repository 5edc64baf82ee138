//! Patterns of queries: what they fit.

use serde_json::Value;

use super::query::text;

/// Whether one of the values fits a pattern: `a|b`, `a,b`, `!a`, `*`, `<3`, `1..5`, `null`.
pub fn fits(values: &[&Value], pattern: &str) -> bool {
    if let Some(rest) = pattern.strip_prefix('!') {
        return !fits(values, rest);
    }
    pattern.split(['|', ',']).any(|one| match one {
        "null" => values.is_empty() || values.iter().all(|value| value.is_null()),
        _ => values.iter().any(|value| fits_one(value, one)),
    })
}

fn fits_one(value: &Value, pattern: &str) -> bool {
    let own = text(value);
    if let Some(number) = value.as_f64() {
        let parse = |text: &str| text.parse::<f64>().ok();
        if let Some((low, high)) = pattern.split_once("..") {
            return parse(low).is_none_or(|low| number >= low)
                && parse(high).is_none_or(|high| number <= high);
        }
        for (sign, holds) in [
            ("<=", number <= bound(pattern)),
            (">=", number >= bound(pattern)),
        ] {
            if pattern.starts_with(sign) {
                return holds;
            }
        }
        match pattern.chars().next() {
            Some('<') => return number < bound(pattern),
            Some('>') => return number > bound(pattern),
            _ => {}
        }
    }
    matches_wildcard(&own, pattern.trim_matches('"'))
}

fn bound(pattern: &str) -> f64 {
    pattern
        .trim_start_matches(['<', '>', '='])
        .parse()
        .unwrap_or(f64::NAN)
}

fn matches_wildcard(text: &str, pattern: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return text == pattern;
    };
    let Some(mut left) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or("");
    for part in parts {
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.ends_with(last)
}
