//! Bodies that nobody honest sends: bombs, depth, truncation, wrong types, and whatever a generator thinks of.

#![allow(clippy::unwrap_used)]

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use xenapi::schema::{self, Ty, coerce, coerce_result};
use xenapi::wire::{Error, Limits};
use xenapi::xmlrpc::Response;
use xenapi::{Failure, Value, date, jsonrpc, xmlrpc};

fn call(value: &str) -> Vec<u8> {
    format!(
        "<methodCall><methodName>m</methodName><params><param>{value}</param></params></methodCall>"
    )
    .into_bytes()
}

fn parsed(value: &str) -> Result<Value, Error> {
    xmlrpc::parse_call(&call(value), &Limits::CALL).map(|mut call| call.params.remove(0))
}

#[test]
fn entity_bombs_are_refused_before_they_grow() {
    let bomb = br#"<?xml version="1.0"?><!DOCTYPE m [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>
        <methodCall><methodName>&b;</methodName><params></params></methodCall>"#;
    assert!(matches!(
        xmlrpc::parse_call(bomb, &Limits::CALL),
        Err(Error::DocumentType { .. })
    ));
    let external = br#"<!DOCTYPE m SYSTEM "file:///etc/passwd"><methodCall><methodName>m</methodName></methodCall>"#;
    assert!(matches!(
        xmlrpc::parse_call(external, &Limits::CALL),
        Err(Error::DocumentType { .. })
    ));
    assert!(matches!(
        parsed("<value>&bomb;</value>"),
        Err(Error::UnknownEntity { .. })
    ));
}

#[test]
fn xml_that_is_no_xml() {
    let instruction = "<value>a<?run it?>b</value>";
    assert!(matches!(
        parsed(instruction),
        Err(Error::ProcessingInstruction { .. })
    ));
    for value in [
        "<value>a & b</value>",
        "<value>&#13</value>",
        "<value>&amp</value>",
        "<value>&#;</value>",
        "<value>&#x;</value>",
        "<value>&#+65;</value>",
        "<value>&#4294967361;</value>",
        "<value>&;</value>",
        "<value><!-- open</value>",
        "<value><![CDATA[open</value>",
        "<value><!ELEMENT a></value>",
        "<value><></></value>",
        "<value><string></value></string>",
        "<value a=\"",
        "</value>",
        "<",
    ] {
        assert!(parsed(value).is_err(), "{value}");
    }
}

#[test]
fn depth_is_bounded_on_both_wires() {
    let xml = |depth: usize| {
        let (open, close) = (
            "<value><array><data>".repeat(depth),
            "</data></array></value>".repeat(depth),
        );
        parsed(&format!("{open}<value>x</value>{close}"))
    };
    let json = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        jsonrpc::parse_call(
            format!(r#"{{"method":"m","id":1,"params":[{open}1{close}]}}"#).as_bytes(),
            &Limits::CALL,
        )
    };
    assert!(xml(Limits::CALL.depth).is_ok() && json(Limits::CALL.depth).is_ok());
    assert!(matches!(
        xml(Limits::CALL.depth + 1),
        Err(Error::TooDeep { .. })
    ));
    assert!(matches!(
        json(Limits::CALL.depth + 1),
        Err(Error::TooDeep { .. })
    ));
    assert!(matches!(xml(10_000), Err(Error::TooDeep { .. })));
    assert!(matches!(json(100_000), Err(Error::TooDeep { .. })));
    let skipped = format!(
        r#"{{"method":"m","id":1,"other":{}1{}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    // What is not looked at is skipped without recursion.
    assert!(jsonrpc::parse_call(skipped.as_bytes(), &Limits::CALL).is_ok());
}

#[test]
fn numbers_of_values_and_bytes_are_bounded() {
    let limits = Limits {
        values: 10,
        body_bytes: 2000,
        ..Limits::CALL
    };
    let many = call(&format!(
        "<value><array><data>{}</data></array></value>",
        "<value/>".repeat(10)
    ));
    assert!(matches!(
        xmlrpc::parse_call(&many, &limits),
        Err(Error::TooManyValues { limit: 10 })
    ));
    let many = br#"{"method":"m","id":1,"params":[1,2,3,4,5,6,7,8,9,10]}"#;
    assert!(matches!(
        jsonrpc::parse_call(many, &limits),
        Err(Error::TooManyValues { limit: 10 })
    ));
    let long = vec![b' '; 2001];
    assert!(matches!(
        xmlrpc::parse_call(&long, &limits),
        Err(Error::BodyTooLarge {
            found: 2001,
            limit: 2000
        })
    ));
    assert!(matches!(
        jsonrpc::parse_call(&long, &limits),
        Err(Error::BodyTooLarge { .. })
    ));
}

#[test]
fn spellings_of_values() {
    for (value, expected) in [
        ("<value>a b </value>", Value::from("a b ")),
        ("<value/>", Value::from("")),
        ("<value> </value>", Value::from(" ")),
        ("<value><string/></value>", Value::from("")),
        ("<value>\n  <string>x</string>\n</value>", Value::from("x")),
        (
            "<value>a<!-- no -->b<![CDATA[<c>]]>&#100;&amp;&#x65;</value>",
            Value::from("ab<c>d&e"),
        ),
        ("<value>a\r\nb&#13;</value>", Value::from("a\nb\r")),
        ("<value><i4>-1</i4></value>", Value::Int(-1)),
        (
            "<value><int> 9223372036854775807 </int></value>",
            Value::Int(i64::MAX),
        ),
        ("<value><i8>1</i8></value>", Value::Int(1)),
        ("<value><boolean>1</boolean></value>", Value::Bool(true)),
        (
            "<value><double>-0.5e3</double></value>",
            Value::Float(-500.0),
        ),
        ("<value><nil/></value>", Value::Nil),
        ("<value><base64>aG\nk=</base64></value>", Value::from("hi")),
        (
            "<value><dateTime.iso8601>1970-01-01T00:00:01</dateTime.iso8601></value>",
            Value::DateTime(1),
        ),
        (
            "<value><array><data/></array></value>",
            Value::Array(Vec::new()),
        ),
        (
            "<value><struct/></value>",
            Value::Struct(Default::default()),
        ),
    ] {
        assert_eq!(parsed(value).unwrap(), expected, "{value}");
    }
}

#[test]
fn what_is_no_value() {
    for value in [
        "<value><i4>1.0</i4></value>",
        "<value><i4>9223372036854775808</i4></value>",
        "<value><boolean>2</boolean></value>",
        "<value><double>many</double></value>",
        "<value><dateTime.iso8601>today</dateTime.iso8601></value>",
        "<value><base64>/w==</base64></value>",
        "<value><base64>?</base64></value>",
        "<value>text<i4>1</i4></value>",
        "<value><i4>1</i4>text</value>",
        "<value><i4>1</i4><i4>1</i4></value>",
        "<value><nil>x</nil></value>",
        "<value><array><value>1</value></array></value>",
        "<value><struct><member><value>1</value></member></struct></value>",
        "<value><struct><member><name>a</name></member></struct></value>",
        "<value><unknown>1</unknown></value>",
        "<value>\u{1}</value>",
        "<value>&#0;</value>",
        "<value>&#xFFFF;</value>",
        "<value>&#xD800;</value>",
        "<value>\u{FFFE}</value>",
        "<value>a</string>",
        "<value>",
        "text",
    ] {
        assert!(parsed(value).is_err(), "{value}");
    }
    let twice = "<value><struct><member><name>a</name><value/></member><member><name>a</name><value/></member></struct></value>";
    assert!(matches!(parsed(twice), Err(Error::DuplicateMember { name }) if name == "a"));
    assert!(matches!(
        xmlrpc::parse_call(b"\xFF", &Limits::CALL),
        Err(Error::NotUtf8 { offset: 0 })
    ));
}

#[test]
fn responses_that_are_none() {
    for body in [
        "",
        "<methodResponse/>",
        "<methodResponse><params/></methodResponse>",
        "<methodResponse><params><param><value><struct><member><name>Status</name><value>Maybe</value></member></struct></value></param></params></methodResponse>",
        "<methodResponse><params><param><value><struct><member><name>Status</name><value>Failure</value></member></struct></value></param></params></methodResponse>",
        "<methodResponse><fault><value>x</value></fault></methodResponse>",
        "<methodResponse><params><param><value>x</value></param></params></methodResponse><more/>",
    ] {
        assert!(
            xmlrpc::parse_response(body.as_bytes(), &Limits::RESPONSE).is_err(),
            "{body}"
        );
    }
    for body in [
        "",
        "[]",
        "{}",
        r#"{"id":1}"#,
        r#"{"jsonrpc":"2.0","error":{"code":1},"id":1}"#,
        r#"{"jsonrpc":"2.0","error":["X"],"id":1}"#,
        r#"{"error":[],"result":null,"id":1}"#,
        r#"{"result":1,"result":2,"id":1}"#,
        r#"{"result":18446744073709551615,"id":1}"#,
        r#"{"result":{"a":1,"a":2},"id":1}"#,
        r#"{"result":1} x"#,
    ] {
        assert!(
            jsonrpc::parse_response(body.as_bytes(), &Limits::RESPONSE).is_err(),
            "{body}"
        );
    }
}

#[test]
fn what_cannot_be_written_is_refused() {
    for text in ["\u{0}", "a\u{1F}", "\u{FFFF}"] {
        assert!(matches!(
            xmlrpc::write_call("m", &[text.into()]),
            Err(Error::IllegalCharacter { .. })
        ));
        assert!(matches!(
            xmlrpc::write_response(&Err(Failure::new("X", [text]))),
            Err(Error::IllegalCharacter { .. })
        ));
        assert!(
            coerce(text.into(), &Ty::String).is_err(),
            "what was stored could not be answered"
        );
    }
    assert!(matches!(
        xmlrpc::write_call("m", &[Value::DateTime(i64::MAX)]),
        Err(Error::DateOutOfRange { .. })
    ));
    let infinite = Ok(Value::Float(f64::INFINITY));
    let written = jsonrpc::write_response(jsonrpc::Version::V2, &jsonrpc::Id::Null, &infinite);
    assert!(matches!(written, Err(Error::NotFinite)));
}

#[test]
fn the_two_spellings_and_async() {
    assert_eq!(
        schema::resolve("VDI_create").unwrap().message.name,
        "VDI.create"
    );
    assert_eq!(
        schema::resolve("VBD_metrics.get_record")
            .unwrap()
            .message
            .name,
        "VBD_metrics.get_record"
    );
    assert!(schema::resolve("Async.VDI.create").unwrap().is_async);
    for method in [
        "",
        ".",
        "VDI",
        "VDI.",
        "vdi.create",
        "Async.VDI_create",
        "Async.Async.VDI.create",
        "VDI.create ",
    ] {
        assert!(schema::resolve(method).is_none(), "{method}");
    }
}

/// Values that XML can carry, of at most three levels.
fn values() -> impl Strategy<Value = Value> {
    let text = "[ -~\t\n\r\u{e9}\u{4e00}\u{1f600}&<>\"']{0,12}";
    let leaf = prop_oneof![
        text.prop_map(Value::String),
        any::<i64>().prop_map(Value::Int),
        any::<bool>().prop_map(Value::Bool),
        any::<i16>().prop_map(|number| Value::Float(f64::from(number) / 8.0)),
        (date::EARLIEST..=date::LATEST).prop_map(Value::DateTime),
    ];
    leaf.prop_recursive(3, 40, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::Array),
            btree_map(text, inner, 0..6).prop_map(Value::Struct),
        ]
    })
}

/// What XML-RPC makes of a value: integers become text.
fn through_xml(value: &Value) -> Value {
    match value {
        Value::Int(number) => Value::String(number.to_string()),
        Value::Array(elements) => Value::Array(elements.iter().map(through_xml).collect()),
        Value::Struct(members) => Value::Struct(
            members
                .iter()
                .map(|(k, v)| (k.clone(), through_xml(v)))
                .collect(),
        ),
        value => value.clone(),
    }
}

/// What JSON makes of a value: dates become text.
fn through_json(value: &Value) -> Value {
    match value {
        Value::DateTime(seconds) => Value::String(date::format(*seconds).unwrap()),
        Value::Array(elements) => Value::Array(elements.iter().map(through_json).collect()),
        Value::Struct(members) => Value::Struct(
            members
                .iter()
                .map(|(k, v)| (k.clone(), through_json(v)))
                .collect(),
        ),
        value => value.clone(),
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(value in values(), id in any::<i64>(), v2 in any::<bool>()) {
        let params = vec![value];
        let call = xmlrpc::parse_call(&xmlrpc::write_call("m", &params).unwrap(), &Limits::CALL).unwrap();
        prop_assert_eq!(&call.params[0], &through_xml(&params[0]));
        let text = xmlrpc::write_value(&params[0]).unwrap();
        prop_assert_eq!(&xmlrpc::parse_value(&text, &Limits::CALL).unwrap(), &through_xml(&params[0]));
        let version = if v2 { jsonrpc::Version::V2 } else { jsonrpc::Version::V1 };
        let call = jsonrpc::Call { version, id: jsonrpc::Id::Int(id), method: "m".to_owned(), params };
        let again = jsonrpc::parse_call(&jsonrpc::write_call(&call).unwrap(), &Limits::CALL).unwrap();
        prop_assert_eq!(&again.params[0], &through_json(&call.params[0]));
        prop_assert_eq!((again.version, again.id), (call.version, call.id));
    }

    #[test]
    fn failures_come_through(code in "[A-Z_]{1,20}", params in vec("[ -~]{0,12}", 0..4), v2 in any::<bool>()) {
        let failure = Err(Failure::new(&code, params));
        let body = xmlrpc::write_response(&failure).unwrap();
        let read = xmlrpc::parse_response(&body, &Limits::RESPONSE).unwrap();
        prop_assert_eq!(read, Response::Failure(failure.clone().unwrap_err()));
        let version = if v2 { jsonrpc::Version::V2 } else { jsonrpc::Version::V1 };
        let body = jsonrpc::write_response(version, &jsonrpc::Id::String("x".to_owned()), &failure).unwrap();
        prop_assert_eq!(jsonrpc::parse_response(&body, &Limits::RESPONSE).unwrap(), failure);
    }

    #[test]
    fn a_truncated_or_changed_body_never_panics(value in values(), cut in any::<prop::sample::Index>(), byte in any::<u8>()) {
        for body in [
            xmlrpc::write_response(&Ok(value.clone())).unwrap(),
            jsonrpc::write_response(jsonrpc::Version::V2, &jsonrpc::Id::Int(1), &Ok(value.clone())).unwrap(),
        ] {
            let at = cut.index(body.len());
            prop_assert!(xmlrpc::parse_response(&body[..at], &Limits::RESPONSE).is_err());
            prop_assert!(jsonrpc::parse_response(&body[..at], &Limits::RESPONSE).is_err());
            let mut changed = body.clone();
            changed[at] = byte;
            let _ = xmlrpc::parse_response(&changed, &Limits::RESPONSE);
            let _ = jsonrpc::parse_response(&changed, &Limits::RESPONSE);
        }
    }

    #[test]
    fn any_value_is_judged_for_any_type(value in values(), which in any::<prop::sample::Index>()) {
        let messages = schema::all_messages();
        let message = messages[which.index(messages.len())];
        let _ = coerce_result(value.clone(), &message.result);
        for param in &message.params {
            if let Ok(coerced) = coerce(value.clone(), &param.ty) {
                // What has its type keeps it.
                prop_assert_eq!(coerce(coerced.clone(), &param.ty), Ok(coerced));
            }
        }
    }
}
