//! Both codecs against what a real pool and its clients sent.

use crate::transcripts;
use xenapi::jsonrpc;
use xenapi::schema::{self, coerce_result};
use xenapi::wire::Limits;
use xenapi::xmlrpc::{self, Response};
use xenapi::{Failure, Value};

#[test]
fn every_call_is_read_and_written_again() {
    let Some(transcripts) = transcripts::transcripts() else {
        return;
    };
    let mut read = 0;
    for transcript in transcripts
        .iter()
        .filter(|transcript| transcript.status == 200 && !transcript.request.is_empty())
    {
        let place = &transcript.place;
        let body = transcript.request.as_bytes();
        if transcript.protocol == "xmlrpc" {
            let call = xmlrpc::parse_call(body, &Limits::CALL)
                .unwrap_or_else(|error| panic!("{place}: {error}"));
            assert_eq!(call.method, transcript.method, "{place}");
            let written = xmlrpc::write_call(&call.method, &call.params).unwrap();
            let again = xmlrpc::parse_call(&written, &Limits::CALL).unwrap();
            assert_eq!(
                untyped(&Value::Array(again.params)),
                untyped(&Value::Array(call.params)),
                "{place}"
            );
        } else {
            let call = jsonrpc::parse_call(body, &Limits::CALL)
                .unwrap_or_else(|error| panic!("{place}: {error}"));
            assert_eq!(call.method, transcript.method, "{place}");
            let again =
                jsonrpc::parse_call(&jsonrpc::write_call(&call).unwrap(), &Limits::CALL).unwrap();
            // A null that a client sent is written as the empty text.
            assert_eq!(
                without_nil(&Value::Array(again.params)),
                without_nil(&Value::Array(call.params)),
                "{place}"
            );
        }
        read += 1;
    }
    assert!(read > 1000, "only {read} calls were read");
}

#[test]
fn every_response_is_read_and_written_again() {
    let Some(transcripts) = transcripts::transcripts() else {
        return;
    };
    let mut read = 0;
    for transcript in transcripts
        .iter()
        .filter(|transcript| transcript.status == 200 && !transcript.response.is_empty())
    {
        let place = &transcript.place;
        let body = transcript.response.as_bytes();
        let ty = schema::resolve(&transcript.method)
            .filter(|resolved| !resolved.is_async)
            .map(|r| r.message.result);
        let typed = |result: Result<Value, Failure>| match ty {
            Some(ty) => result.map(|value| {
                coerce_result(value, &ty).unwrap_or_else(|error| panic!("{place}: {error}"))
            }),
            None => result,
        };
        if transcript.protocol == "xmlrpc" {
            let result = match xmlrpc::parse_response(body, &Limits::RESPONSE) {
                Ok(Response::Success(value)) => Ok(value),
                Ok(Response::Failure(failure)) => Err(failure),
                Ok(Response::Bare(value)) if transcript.method == "system.listMethods" => Ok(value),
                other => panic!("{place}: {other:?}"),
            };
            let written = xmlrpc::write_response(&result).unwrap();
            let again = match xmlrpc::parse_response(&written, &Limits::RESPONSE).unwrap() {
                Response::Success(value) => Ok(value),
                Response::Failure(failure) => Err(failure),
                other => panic!("{place}: {other:?}"),
            };
            assert_eq!(typed(again), typed(result), "{place}");
        } else {
            let result = jsonrpc::parse_response(body, &Limits::RESPONSE)
                .unwrap_or_else(|error| panic!("{place}: {error}"));
            let written =
                jsonrpc::write_response(jsonrpc::Version::V2, &jsonrpc::Id::Int(1), &result)
                    .unwrap();
            let again = jsonrpc::parse_response(&written, &Limits::RESPONSE).unwrap();
            assert_eq!(typed(again), typed(result), "{place}");
        }
        read += 1;
    }
    assert!(read > 1000, "only {read} responses were read");
}

#[test]
fn what_the_pool_refuses_as_a_body_is_refused() {
    let Some(transcripts) = transcripts::transcripts() else {
        return;
    };
    let mut refused = 0;
    for transcript in transcripts
        .iter()
        .filter(|transcript| transcript.status == 500)
    {
        let body = transcript.request.as_bytes();
        let wrong = if transcript.protocol == "xmlrpc" {
            xmlrpc::parse_call(body, &Limits::CALL).is_err()
        } else {
            jsonrpc::parse_call(body, &Limits::CALL).is_err()
        };
        assert!(wrong, "{}", transcript.place);
        refused += 1;
    }
    assert!(refused >= 11, "only {refused} bodies were refused");
}

/// Integers become text, as an XML-RPC writer sends them.
fn untyped(value: &Value) -> Value {
    match value {
        Value::Int(number) => Value::String(number.to_string()),
        Value::Array(elements) => Value::Array(elements.iter().map(untyped).collect()),
        Value::Struct(members) => Value::Struct(
            members
                .iter()
                .map(|(name, member)| (name.clone(), untyped(member)))
                .collect(),
        ),
        value => value.clone(),
    }
}

/// Nothing becomes the empty text, as both writers send it.
fn without_nil(value: &Value) -> Value {
    match value {
        Value::Nil => Value::from(""),
        Value::Array(elements) => Value::Array(elements.iter().map(without_nil).collect()),
        Value::Struct(members) => Value::Struct(
            members
                .iter()
                .map(|(name, member)| (name.clone(), without_nil(member)))
                .collect(),
        ),
        value => value.clone(),
    }
}
