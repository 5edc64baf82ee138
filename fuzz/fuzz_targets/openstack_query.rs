//! Arbitrary text as the query of a list and as a microversion header of the Block Storage API.
#![no_main]

use libfuzzer_sys::fuzz_target;
use volume_service::api::parsers::{Microversion, Paging, read_openstack_query};

fuzz_target!(|text: &str| {
    read_openstack_query(text);
    let _ = Paging::parse(text);
    if let Ok(version) = Microversion::parse(text) {
        let again = Microversion::parse(&format!("volume {version}"));
        assert_eq!(
            again,
            Ok(version),
            "a version that was read is one that is spoken"
        );
    }
});
