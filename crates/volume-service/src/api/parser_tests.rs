//! Properties of the parsers of untrusted text.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::ec2::parameters::Parameters;
use super::ec2::signature::{canonical_query, encode, parse_authorization};
use super::ec2::untrusted::read_parameters;
use super::openstack::microversion::Microversion;
use super::openstack::paging::Paging;
use super::openstack::untrusted::{read_body, read_query};
use super::timestamp;

/// Any JSON value of a few levels.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,300}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(".{0,20}", inner, 0..4)
                .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

/// A key that some reader looks for.
fn known_key() -> impl Strategy<Value = String> {
    proptest::sample::select(vec![
        "name",
        "description",
        "size",
        "new_size",
        "metadata",
        "snapshot_id",
        "source_volid",
        "volume_id",
        "force",
        "status",
        "all_tenants",
        "limit",
        "marker",
        "sort",
        "with_count",
        "Size",
        "SnapshotId",
        "MaxResults",
        "NextToken",
        "Filter.1.Name",
        "Filter.1.Value.1",
        "TagSpecification.1.ResourceType",
    ])
    .prop_map(str::to_owned)
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Parameters::decode(&text, &bytes);
        let _ = parse_authorization(&text);
        let _ = parse_authorization(&format!("AWS4-HMAC-SHA256 {text}"));
        let _ = Microversion::parse(&text);
        let _ = Microversion::parse(&format!("volume {text}"));
        let _ = Paging::parse(&text);
        read_parameters(&text, &bytes);
        read_query(&text);
        read_body(text.as_bytes());
        let _ = timestamp::parse_iso(&text);
        let _ = timestamp::parse_basic(&text);
    }

    #[test]
    fn no_field_of_a_body_panics(value in json(), keys in proptest::collection::vec(known_key(), 1..6)) {
        let fields: serde_json::Map<String, Value> = keys.iter().map(|key| (key.clone(), value.clone())).collect();
        for name in ["volume", "snapshot", "metadata", "os-extend", "revert"] {
            read_body(json!({ name: fields }).to_string().as_bytes());
        }
        let query: Vec<(&str, String)> = keys.iter().map(|key| (key.as_str(), value.to_string())).collect();
        let query = canonical_query(query.iter().map(|(key, value)| (*key, value.as_str())));
        read_query(&query);
        read_parameters(&query, b"");
    }

    #[test]
    fn parameters_survive_encoding(pairs in proptest::collection::btree_map("[^\\x00\n]{1,20}", "[^\\x00\n]{0,20}", 0..10)) {
        let query = canonical_query(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let expected = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .count();
        let decoded = Parameters::decode(&query, b"").expect("our own encoding");
        prop_assert_eq!(expected, pairs.len());
        for (name, value) in &pairs {
            prop_assert_eq!(decoded.get(name), Some(value.as_str()));
        }
    }

    #[test]
    fn encoding_leaves_only_unreserved_letters(text in ".{0,50}") {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte);
        prop_assert!(encode(&text, false).bytes().all(plain));
    }

    #[test]
    fn times_survive_writing(us in 0_i64..4_102_444_800_000_000) {
        prop_assert_eq!(timestamp::parse_iso(&timestamp::openstack(us)), Some(us));
        prop_assert_eq!(timestamp::parse_iso(&timestamp::identity(us)), Some(us));
        prop_assert_eq!(timestamp::parse_iso(&timestamp::ec2(us)), Some(us / 1000 * 1000));
    }
}
