//! Whether a backend's capabilities meet a flavor's extra specs.
//!
//! # Source
//! Cinder 29's capabilities filter: which specs are requirements, how their names walk the capabilities, and what each operator
//! compares. Where Cinder's comparison of unlike types raises an error, nothing matches here.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::capabilities::Capabilities;

/// The scope of specs that are requirements although they have one.
const SCOPE: &str = "capabilities";

/// What Cinder takes for true in `<is>`; everything else is false.
const TRUE_WORDS: [&str; 6] = ["1", "t", "true", "on", "y", "yes"];

/// A requirement that a backend does not meet.
#[derive(Clone, Debug, PartialEq)]
pub struct Unmet {
    /// The spec's name.
    pub key: String,
    /// What it asks for.
    pub wanted: String,
    /// What the backend says; none when it knows no such capability.
    pub found: Option<Value>,
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.found {
            Some(found) => write!(f, "{} is {found}, wanted {:?}", self.key, self.wanted),
            None => write!(f, "{} is unknown, wanted {:?}", self.key, self.wanted),
        }
    }
}

/// Compares every requirement among the specs with the capabilities.
///
/// A name with a scope other than `capabilities:` is no requirement but advice to somebody else.
///
/// # Errors
/// The first requirement, by name, that is not met.
pub fn satisfies(
    specs: &BTreeMap<String, String>,
    capabilities: &Capabilities,
) -> Result<(), Unmet> {
    for (key, wanted) in specs {
        let Some(path) = requirement(key) else {
            continue;
        };
        let found = walk(capabilities, path);
        if found.is_some_and(|found| any_matches(found, wanted)) {
            continue;
        }
        return Err(Unmet {
            key: key.clone(),
            wanted: wanted.clone(),
            found: found.cloned(),
        });
    }
    Ok(())
}

/// The path of a spec that is a requirement.
fn requirement(key: &str) -> Option<&str> {
    match key.split_once(':') {
        None => Some(key),
        Some((SCOPE, path)) => Some(path),
        Some(_) => None,
    }
}

fn walk<'a>(capabilities: &'a Capabilities, path: &str) -> Option<&'a Value> {
    let mut names = path.split(':');
    let first = capabilities.0.get(names.next()?)?;
    names.try_fold(first, |found, name| found.as_object()?.get(name))
}

fn any_matches(found: &Value, wanted: &str) -> bool {
    match found {
        Value::Array(items) => items.iter().any(|item| matches(item, wanted)),
        one => matches(one, wanted),
    }
}

/// True when a capability is what a spec asks for.
fn matches(found: &Value, wanted: &str) -> bool {
    let mut words = wanted.split_whitespace();
    let operator = words.next().unwrap_or_default();
    if operator == "<or>" {
        return words
            .step_by(2)
            .any(|word| found.as_str().is_some_and(|found| found == word));
    }
    let Some(compare) = comparison(operator) else {
        return found.as_str() == Some(wanted);
    };
    let operand = words.next();
    operand.is_some_and(|operand| !found.is_null() && compare(found, operand))
}

fn comparison(operator: &str) -> Option<fn(&Value, &str) -> bool> {
    Some(match operator {
        "=" | ">=" => |found, wanted| numbers(found, wanted).is_some_and(|(a, b)| a >= b),
        "<=" => |found, wanted| numbers(found, wanted).is_some_and(|(a, b)| a <= b),
        "==" => |found, wanted| numbers(found, wanted).is_some_and(|(a, b)| a == b),
        "!=" => |found, wanted| numbers(found, wanted).is_some_and(|(a, b)| a != b),
        "s==" => |found, wanted| found.as_str() == Some(wanted),
        "s!=" => |found, wanted| found.as_str() != Some(wanted),
        "s<" => |found, wanted| found.as_str().is_some_and(|found| found < wanted),
        "s<=" => |found, wanted| found.as_str().is_some_and(|found| found <= wanted),
        "s>" => |found, wanted| found.as_str().is_some_and(|found| found > wanted),
        "s>=" => |found, wanted| found.as_str().is_some_and(|found| found >= wanted),
        "<in>" => |found, wanted| match found {
            Value::String(text) => text.contains(wanted),
            Value::Object(map) => map.contains_key(wanted),
            _ => false,
        },
        "<is>" => |found, wanted| is_true(found) == is_true_word(wanted),
        _ => return None,
    })
}

/// Both sides as numbers.
fn numbers(found: &Value, wanted: &str) -> Option<(f64, f64)> {
    let found = match found {
        Value::Number(number) => number.as_f64()?,
        Value::Bool(is_true) => f64::from(u8::from(*is_true)),
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    Some((found, wanted.parse().ok()?))
}

fn is_true(found: &Value) -> bool {
    match found {
        Value::Bool(is_true) => *is_true,
        Value::String(text) => is_true_word(text),
        Value::Number(number) => number.as_i64() == Some(1),
        _ => false,
    }
}

fn is_true_word(word: &str) -> bool {
    let word = word.trim().to_ascii_lowercase();
    TRUE_WORDS.contains(&word.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::model::flavor::ZONES_SPEC;

    fn capabilities() -> Capabilities {
        let Value::Object(map) = json!({
            "volume_backend_name": "SR-1",
            "free_capacity_gb": 12.5,
            "total_capacity_gb": "unknown",
            "reserved_percentage": 0,
            "multiattach": false,
            "thin_provisioning_support": true,
            "protocols": ["nfs", "iscsi"],
            "level": {"disk": {"kind": "ssd"}},
            "nothing": null,
        }) else {
            unreachable!("an object")
        };
        Capabilities(map)
    }

    fn meets(key: &str, wanted: &str) -> bool {
        let specs = BTreeMap::from([(key.to_owned(), wanted.to_owned())]);
        satisfies(&specs, &capabilities()).is_ok()
    }

    #[test]
    fn operators_compare_as_cinders_do() {
        for (key, wanted, expected) in [
            ("volume_backend_name", "SR-1", true),
            ("volume_backend_name", "SR-2", false),
            ("volume_backend_name", "s== SR-1", true),
            ("volume_backend_name", "s!= SR-1", false),
            ("volume_backend_name", "s> SR-0", true),
            ("volume_backend_name", "s>= SR-1", true),
            ("volume_backend_name", "s< SR-1", false),
            ("volume_backend_name", "s<= SR-1", true),
            ("volume_backend_name", "<in> SR", true),
            ("volume_backend_name", "<in> nfs", false),
            ("volume_backend_name", "<or> SR-0 <or> SR-1", true),
            ("volume_backend_name", "<or> SR-0 <or> SR-2", false),
            ("volume_backend_name", "<or>", false),
            ("free_capacity_gb", "= 12", true),
            ("free_capacity_gb", "= 13", false),
            ("free_capacity_gb", ">= 12.5", true),
            ("free_capacity_gb", "<= 12", false),
            ("free_capacity_gb", "== 12.50", true),
            ("free_capacity_gb", "!= 12.5", false),
            ("free_capacity_gb", "> 12", false),
            ("free_capacity_gb", "12.5", false),
            ("free_capacity_gb", ">= much", false),
            ("total_capacity_gb", ">= 1", false),
            ("total_capacity_gb", "unknown", true),
            ("thin_provisioning_support", "<is> True", true),
            ("thin_provisioning_support", "<is> yes", true),
            ("thin_provisioning_support", "<is> no", false),
            ("thin_provisioning_support", "<is>", false),
            ("thin_provisioning_support", "True", false),
            ("multiattach", "<is> True", false),
            ("multiattach", "<is> False", true),
            ("protocols", "iscsi", true),
            ("protocols", "<or> fc <or> nfs", true),
            ("protocols", "fc", false),
            ("capabilities:level:disk:kind", "ssd", true),
            ("capabilities:level:disk", "<in> kind", true),
            ("capabilities:level:tape:kind", "ssd", false),
            ("capabilities:volume_backend_name:x", "SR-1", false),
            ("nothing", "s!= x", false),
            ("no_such_capability", "", false),
            // Not for the scheduler.
            ("provisioning:type", "thin", true),
            (ZONES_SPEC, "mars", true),
        ] {
            assert_eq!(meets(key, wanted), expected, "{key}={wanted}");
        }
    }

    #[test]
    fn what_is_not_met_is_named() {
        let specs = |key: &str, wanted: &str| BTreeMap::from([(key.to_owned(), wanted.to_owned())]);
        let said = |specs| satisfies(&specs, &capabilities()).map_err(|unmet| unmet.to_string());
        assert_eq!(
            said(specs("multiattach", "<is> True")),
            Err("multiattach is false, wanted \"<is> True\"".to_owned())
        );
        assert_eq!(
            said(specs("speed", "= 9")),
            Err("speed is unknown, wanted \"= 9\"".to_owned())
        );
    }

    prop_compose! {
        fn any_value()(kind in 0..6, number in any::<f64>(), whole in any::<i64>(), text in "\\PC{0,12}", is in any::<bool>()) -> Value {
            match kind {
                0 => json!(number),
                1 => json!(whole),
                2 => json!(text),
                3 => json!(is),
                4 => json!([text, whole, is]),
                _ => json!({text: number}),
            }
        }
    }

    proptest! {
        #[test]
        fn no_spec_and_no_capability_is_too_odd(
            values in prop::collection::btree_map("[a-c:]{1,4}", any_value(), 0..4),
            specs in prop::collection::btree_map("(capabilities:)?[a-c:]{0,4}", "\\PC{0,16}|(=|<in>|<is>|<or>|s<|==) ?\\PC{0,8}", 0..4),
        ) {
            let capabilities = Capabilities(values.into_iter().collect());
            match satisfies(&specs, &capabilities) {
                Ok(()) => {
                    // Fewer requirements are met too.
                    for key in specs.keys() {
                        let mut fewer = specs.clone();
                        fewer.remove(key);
                        prop_assert_eq!(satisfies(&fewer, &capabilities), Ok(()));
                    }
                }
                Err(unmet) => prop_assert_eq!(specs.get(&unmet.key), Some(&unmet.wanted)),
            }
        }

        #[test]
        fn equal_texts_meet_and_a_negation_is_never_met_with_its_assertion(text in "[a-z]{1,8}", number in -1e9f64..1e9) {
            let of = |value: Value| Capabilities([("x".to_owned(), value)].into_iter().collect());
            let spec = |wanted: String| BTreeMap::from([("x".to_owned(), wanted)]);
            prop_assert_eq!(satisfies(&spec(text.clone()), &of(json!(text))), Ok(()));
            for (value, operand) in [(json!(text), text.clone()), (json!(number), number.to_string())] {
                let capabilities = of(value.clone());
                let met = |operator: &str| satisfies(&spec(format!("{operator} {operand}")), &capabilities).is_ok();
                let (equal, unequal) = if value.is_number() { ("==", "!=") } else { ("s==", "s!=") };
                prop_assert!(met(equal) != met(unequal));
            }
        }
    }
}
