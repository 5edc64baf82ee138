//! Arbitrary bytes as a JSON-RPC call and as a response.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xenapi::jsonrpc;
use xenapi::wire::Limits;

fuzz_target!(|body: &[u8]| {
    if let Ok(call) = jsonrpc::parse_call(body, &Limits::CALL) {
        let written =
            jsonrpc::write_call(&call).expect("JSON has no infinities and dates stay text");
        let again =
            jsonrpc::parse_call(&written, &Limits::CALL).expect("what was written can be read");
        assert_eq!(
            (again.version, again.id, again.method),
            (call.version, call.id, call.method)
        );
    }
    let _ = jsonrpc::parse_response(body, &Limits::RESPONSE);
});
