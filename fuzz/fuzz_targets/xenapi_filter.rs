//! Arbitrary text as an expression of the query language.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::borrow::Cow;
use xenapi::filter;

fuzz_target!(|expression: &str| {
    if let Ok(filter) = filter::parse(expression) {
        let _ =
            filter.matches(&|name: &str| (name.len() % 2 == 0).then_some(Cow::Borrowed("text")));
        let _ = filter.required_text("SR");
    }
});
