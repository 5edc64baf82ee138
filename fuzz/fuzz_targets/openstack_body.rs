//! Arbitrary bytes as a JSON body of the Block Storage API, read as every request reads it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use volume_service::api::parsers::read_openstack_body;

fuzz_target!(|body: &[u8]| read_openstack_body(body));
