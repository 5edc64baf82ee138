//! Arbitrary text as a query, a form and an `Authorization` header of the EC2 API.
#![no_main]

use libfuzzer_sys::fuzz_target;
use volume_service::api::parsers::{Parameters, parse_authorization, read_ec2_parameters};

fuzz_target!(|input: (&str, &[u8])| {
    let (query, form) = input;
    read_ec2_parameters(query, form);
    let _ = parse_authorization(query);
    // A form is read as a query is, whichever of the two holds it.
    if let Ok(text) = std::str::from_utf8(form) {
        assert_eq!(
            Parameters::decode("", form),
            Parameters::decode(text, b""),
            "{text:?}"
        );
    }
});
