//! Arbitrary bytes as an XML-RPC call: what is read can be judged by the schema, written, and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xenapi::wire::Limits;
use xenapi::{schema, xmlrpc};

fuzz_target!(|body: &[u8]| {
    let Ok(call) = xmlrpc::parse_call(body, &Limits::CALL) else {
        return;
    };
    let written =
        xmlrpc::write_call(&call.method, &call.params).expect("what was read can be written");
    let again = xmlrpc::parse_call(&written, &Limits::CALL).expect("what was written can be read");
    assert_eq!(again.params.len(), call.params.len());
    if let Some(resolved) = schema::resolve(&call.method)
        && resolved.message.check_count(call.params.len()).is_ok()
    {
        let given = call
            .params
            .into_iter()
            .skip(usize::from(resolved.message.needs_session));
        for (param, value) in resolved.message.params.iter().zip(given) {
            let _ = schema::coerce(value, &param.ty);
        }
    }
});
