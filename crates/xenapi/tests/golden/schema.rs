//! The schema against the records, the parameter counts and the list of messages of a real pool.

use crate::transcripts::{self, Transcript};
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use xenapi::schema::{self as schema, Effect, Status, Ty, coerce, coerce_result};
use xenapi::wire::Limits;
use xenapi::xmlrpc::Response;
use xenapi::{Failure, Value, jsonrpc, xmlrpc};

fn answer(transcript: &Transcript) -> Option<Result<Value, Failure>> {
    if transcript.status != 200 || transcript.response.is_empty() {
        return None;
    }
    let body = transcript.response.as_bytes();
    if transcript.protocol == "jsonrpc" {
        return Some(jsonrpc::parse_response(body, &Limits::RESPONSE).unwrap());
    }
    match xmlrpc::parse_response(body, &Limits::RESPONSE).unwrap() {
        Response::Success(value) | Response::Bare(value) => Some(Ok(value)),
        Response::Failure(failure) => Some(Err(failure)),
        Response::Fault { .. } => None,
    }
}

fn params(transcript: &Transcript) -> Vec<Value> {
    let body = transcript.request.as_bytes();
    match transcript.protocol.as_str() {
        "jsonrpc" => jsonrpc::parse_call(body, &Limits::CALL).unwrap().params,
        _ => xmlrpc::parse_call(body, &Limits::CALL).unwrap().params,
    }
}

/// Tells whether a parsed value is what the type looks like on the wire, before any coercion.
fn fits(value: &Value, ty: &Ty, json: bool) -> bool {
    match (ty, value) {
        (Ty::String | Ty::Enum(..), Value::String(_)) => true,
        (Ty::Ref(_), Value::String(text)) => text.is_empty() || text.starts_with("OpaqueRef:"),
        (Ty::Int, Value::Int(_)) => json,
        (Ty::Int, Value::String(text)) => !json && text.parse::<i64>().is_ok(),
        (Ty::Float, Value::Float(_)) | (Ty::Bool, Value::Bool(_)) => true,
        (Ty::DateTime, Value::DateTime(_)) => !json,
        (Ty::DateTime, Value::String(_)) => json,
        (Ty::Set(element), Value::Array(elements)) => {
            elements.iter().all(|value| fits(value, element, json))
        }
        (Ty::Map(_, element), Value::Struct(members)) => {
            members.values().all(|value| fits(value, element, json))
        }
        _ => false,
    }
}

#[test]
fn every_record_has_the_fields_of_its_class_and_no_other() {
    let Some(transcripts) = transcripts::transcripts() else {
        return;
    };
    let mut seen = BTreeMap::new();
    for transcript in &transcripts {
        let Some(resolved) =
            schema::resolve(&transcript.method).filter(|resolved| !resolved.is_async)
        else {
            continue;
        };
        let Some(Ok(result)) = answer(transcript) else {
            continue;
        };
        let records: Vec<&Value> = match resolved.message.effect {
            Effect::GetRecord => vec![&result],
            Effect::GetAllRecords | Effect::GetAllRecordsWhere => {
                result.as_struct().unwrap().values().collect()
            }
            _ => continue,
        };
        let class = resolved.message.class.unwrap();
        for record in records {
            let record = record.as_struct().unwrap();
            let found: BTreeSet<&str> = record.keys().map(String::as_str).collect();
            let declared: BTreeSet<&str> = class.fields.iter().map(|field| field.name).collect();
            assert_eq!(found, declared, "{}", transcript.place);
            for field in class.fields {
                let value = &record[field.name];
                let fits = fits(value, &field.ty, transcript.protocol == "jsonrpc");
                assert!(
                    fits,
                    "{}: {}.{} is {value:?}",
                    transcript.place, class.name, field.name
                );
                // What a pool writes also passes the strict rules, with every enum value known.
                coerce(value.clone(), &field.ty)
                    .unwrap_or_else(|error| panic!("{} {error}", transcript.place));
            }
            *seen.entry(class.name).or_insert(0) += 1;
        }
    }
    for class in [
        "session",
        "pool",
        "host",
        "host_metrics",
        "VM",
        "SM",
        "SR",
        "PBD",
        "VDI",
        "VBD",
        "task",
        "secret",
        "network",
    ] {
        assert!(
            seen.contains_key(class),
            "no record of {class} was compared"
        );
    }
}

#[test]
fn every_result_has_its_declared_type() {
    let Some(transcripts) = transcripts::transcripts() else {
        return;
    };
    let mut compared = 0;
    for transcript in &transcripts {
        let Some(resolved) = schema::resolve(&transcript.method) else {
            continue;
        };
        let Some(Ok(result)) = answer(transcript) else {
            continue;
        };
        let ty = if resolved.is_async {
            Ty::Ref("task")
        } else {
            resolved.message.result
        };
        coerce_result(result, &ty).unwrap_or_else(|error| panic!("{}: {error}", transcript.place));
        compared += 1;
    }
    assert!(compared > 800, "only {compared} results were compared");
}

#[test]
fn counts_and_unknown_methods_are_judged_as_the_pool_does() {
    let Some(transcripts) = transcripts::transcripts() else {
        return;
    };
    let (mut counted, mut unknown) = (0, 0);
    for transcript in &transcripts {
        let Some(answer) = answer(transcript) else {
            continue;
        };
        let Some(resolved) = schema::resolve(&transcript.method) else {
            if let Err(failure) = answer
                && failure.is(xenapi::failure::code::MESSAGE_METHOD_UNKNOWN)
            {
                unknown += 1;
            }
            continue;
        };
        if transcript.request.is_empty() {
            continue;
        }
        let judged = resolved.message.check_count(params(transcript).len());
        match answer {
            Err(failure) if failure.is(xenapi::failure::code::MESSAGE_PARAMETER_COUNT_MISMATCH) => {
                assert_eq!(judged, Err(failure), "{}", transcript.place);
                counted += 1;
            }
            Err(failure) if failure.is(xenapi::failure::code::MESSAGE_METHOD_UNKNOWN) => {
                panic!("{}: the schema has {}", transcript.place, transcript.method)
            }
            Err(failure) if failure.is("MESSAGE_REMOVED") => {
                assert_eq!(resolved.message.status, Status::Removed)
            }
            Err(failure) if failure.is("MESSAGE_DEPRECATED") => {
                assert_eq!(resolved.message.status, Status::Deprecated)
            }
            Err(failure) if failure.is("Fault") => {
                assert!(
                    resolved.is_async && !resolved.message.has_async,
                    "{}",
                    transcript.place
                );
                assert_eq!(
                    failure,
                    Failure::no_async_mode(&resolved.message.name),
                    "{}",
                    transcript.place
                );
            }
            Ok(_) => {
                assert_eq!(judged, Ok(()), "{}", transcript.place);
                assert_eq!(
                    resolved.message.status,
                    Status::Live,
                    "{}",
                    transcript.place
                );
                assert!(
                    !resolved.is_async || resolved.message.has_async,
                    "{}",
                    transcript.place
                );
            }
            Err(_) => {}
        }
    }
    assert!(
        counted >= 15 && unknown >= 5,
        "{counted} counts and {unknown} unknown methods"
    );
}

#[test]
fn arguments_that_the_pool_took_are_taken() {
    let Some(transcripts) = transcripts::transcripts() else {
        return;
    };
    let mut taken = 0;
    for transcript in &transcripts {
        let Some(resolved) = schema::resolve(&transcript.method) else {
            continue;
        };
        let Some(Ok(_)) = answer(transcript) else {
            continue;
        };
        let skip = usize::from(resolved.message.needs_session);
        for (param, value) in resolved
            .message
            .params
            .iter()
            .zip(params(transcript).into_iter().skip(skip))
        {
            let judged = if resolved.message.effect == Effect::Create {
                schema::coerce_constructor(value, resolved.message.class.unwrap()).map(Value::from)
            } else {
                coerce(value, &param.ty)
            };
            judged.unwrap_or_else(|error| panic!("{}: {} {error}", transcript.place, param.name));
            taken += 1;
        }
    }
    assert!(taken > 500, "only {taken} arguments were compared");
}

#[test]
fn wrong_types_and_missing_fields_are_refused_as_the_pool_does() {
    let Some(transcripts) = transcripts::transcripts() else {
        return;
    };
    let mut refused = 0;
    for transcript in &transcripts {
        let Some(resolved) =
            schema::resolve(&transcript.method).filter(|resolved| !resolved.is_async)
        else {
            continue;
        };
        let Some(Err(failure)) = answer(transcript) else {
            continue;
        };
        let told = failure
            .params
            .first()
            .map(String::as_str)
            .unwrap_or_default();
        let of_types = [
            "Expect",
            "Failure(\"Expect",
            "Failure(\"Int64",
            "Failure(\"Unknown tag",
            "Failure(\"bad __",
        ];
        let missing = told.starts_with("Server_helpers.Dispatcher_FieldNotFound");
        if !failure.is("INTERNAL_ERROR")
            || !(missing || of_types.iter().any(|start| told.starts_with(start)))
        {
            continue;
        }
        let skip = usize::from(resolved.message.needs_session);
        if params(transcript)[..skip]
            .iter()
            .any(|session| session.as_str().is_none())
        {
            // The session itself has the wrong type, which is not the schema's to judge.
            continue;
        }
        let judged = resolved
            .message
            .params
            .iter()
            .zip(params(transcript).into_iter().skip(skip))
            .try_for_each(|(param, value)| match resolved.message.effect {
                Effect::Create => {
                    schema::coerce_constructor(value, resolved.message.class.unwrap()).map(|_| ())
                }
                _ => coerce(value, &param.ty).map(|_| ()),
            });
        let ours = judged.expect_err(&transcript.place);
        assert_eq!(
            (ours.code.as_str(), ours.params.len()),
            ("INTERNAL_ERROR", 1),
            "{}",
            transcript.place
        );
        refused += 1;
    }
    assert!(refused > 30, "only {refused} refusals were compared");
}

#[test]
fn every_message_is_one_of_the_pool_and_no_getter_is_lacking() {
    let Some(transcripts) = transcripts::transcripts() else {
        return;
    };
    let listed = transcripts
        .iter()
        .find(|transcript| transcript.method == "system.listMethods")
        .unwrap();
    let Some(Ok(Value::Array(listed))) = answer(listed) else {
        panic!("no list of methods")
    };
    let listed: BTreeSet<&str> = listed.iter().map(|name| name.as_str().unwrap()).collect();
    let ours: BTreeSet<&str> = schema::all_messages()
        .iter()
        .map(|message| message.name.as_str())
        .collect();
    let hidden = [
        "SR.make",
        "VDI.force_unlock",
        "VDI.checksum",
        "VBD.pause",
        "VBD.unpause",
        "system.listMethods",
    ];
    for name in &ours {
        assert!(
            listed.contains(name) || hidden.contains(name),
            "the pool has no {name}"
        );
    }
    for class in schema::classes().iter().filter(|class| class.is_stored()) {
        for name in listed
            .iter()
            .filter(|name| name.starts_with(&format!("{}.get_", class.name)))
        {
            let field = name.rsplit("get_").next().unwrap();
            if class.field(field).is_some() || field.starts_with("all") || field.starts_with("by") {
                assert!(ours.contains(name), "the schema lacks {name}");
            }
        }
    }
}

#[test]
fn filters_select_what_the_pool_selected() {
    let Some(transcripts) = transcripts::transcripts() else {
        return;
    };
    let (mut selected, mut refused) = (0, 0);
    for transcript in &transcripts {
        let Some(resolved) = schema::resolve(&transcript.method) else {
            continue;
        };
        if resolved.message.effect != Effect::GetAllRecordsWhere {
            continue;
        }
        let class = resolved.message.class.unwrap();
        let expression = params(transcript)[1].as_str().unwrap().to_owned();
        match answer(transcript).unwrap() {
            Ok(records) => {
                let filter = xenapi::filter::parse(&expression).unwrap();
                let records = coerce_result(records, &resolved.message.result).unwrap();
                for record in records.as_struct().unwrap().values() {
                    assert_eq!(
                        filter.matches_record(class, record.as_struct().unwrap()),
                        Ok(true),
                        "{}",
                        transcript.place
                    );
                    selected += 1;
                }
            }
            Err(failure) => {
                let ours = match xenapi::filter::parse(&expression) {
                    Ok(filter) => filter
                        .matches_record(class, &class.initial_record())
                        .unwrap_err(),
                    Err(ours) => ours,
                };
                assert_eq!(
                    (&ours.code, ours.params.len()),
                    (&failure.code, failure.params.len()),
                    "{}",
                    transcript.place
                );
                refused += 1;
            }
        }
    }
    assert!(
        selected >= 9 && refused >= 4,
        "{selected} records and {refused} refusals"
    );
}
