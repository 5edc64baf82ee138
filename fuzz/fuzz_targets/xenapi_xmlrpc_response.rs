//! Arbitrary bytes as an XML-RPC response, and as the result of a task.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xenapi::wire::Limits;
use xenapi::xmlrpc::{self, Response};

fuzz_target!(|body: &[u8]| {
    match xmlrpc::parse_response(body, &Limits::RESPONSE) {
        Ok(Response::Success(value)) => {
            xmlrpc::write_response(&Ok(value)).expect("what was read can be written");
        }
        Ok(Response::Failure(failure)) => {
            let written = xmlrpc::write_response(&Err(failure.clone()))
                .expect("what was read can be written");
            assert_eq!(
                xmlrpc::parse_response(&written, &Limits::RESPONSE).ok(),
                Some(Response::Failure(failure))
            );
        }
        _ => {}
    }
    if let Ok(text) = std::str::from_utf8(body) {
        let _ = xmlrpc::parse_value(text, &Limits::RESPONSE);
    }
});
