//! Properties of the parsers of untrusted text.

use proptest::prelude::*;

use super::ec2::parameters::Parameters;
use super::ec2::signature::{canonical_query, encode, parse_authorization};
use super::openstack::microversion::Microversion;
use super::openstack::paging::Paging;
use super::timestamp;

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Parameters::decode(&text, &bytes);
        let _ = parse_authorization(&text);
        let _ = parse_authorization(&format!("AWS4-HMAC-SHA256 {text}"));
        let _ = Microversion::parse(&text);
        let _ = Microversion::parse(&format!("volume {text}"));
        let _ = Paging::parse(&text);
        let _ = timestamp::parse_iso(&text);
        let _ = timestamp::parse_basic(&text);
    }

    #[test]
    fn parameters_survive_encoding(pairs in proptest::collection::btree_map(".{1,20}", ".{0,20}", 0..10)) {
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
