use proptest::prelude::*;

use super::{Entry, Item, Printer, Value, parse};

fn value(text: &str) -> Value {
    let document = parse(format!("key = {text}").as_bytes()).unwrap();
    match document.entries.into_iter().next().unwrap().item {
        Item::Value(value) => value,
        Item::Section(_) => panic!("{text} is a value"),
    }
}

#[test]
fn reads_values() {
    assert_eq!(value("17"), Value::Integer(17));
    assert_eq!(value("-1 # none"), Value::Integer(-1));
    assert_eq!(value("1.50"), Value::Decimal("1.50".to_owned()));
    assert_eq!(value(r#""a\"b\\c""#), Value::Text(r#"a"b\c"#.to_owned()));
    assert_eq!(value("[]"), Value::List(Vec::new()));
    assert_eq!(value("[ \"a\",\n\"b\" ]"), Value::texts(&["a", "b"]));
}

#[test]
fn reads_sections_whose_names_begin_like_numbers() {
    let document = parse(b"5f-1.cbtlog { \n id=3 }\n\0 garbage {").unwrap();
    assert_eq!(document.entries[0].key, "5f-1.cbtlog");
}

#[test]
fn refuses_what_is_not_of_the_language() {
    let wrong: [&[u8]; 13] = [
        b"a",
        b"a =",
        b"a = [1",
        b"a = [[1]]",
        b"a = b",
        b"a = 1.2.3",
        b"a = 9223372036854775808",
        b"a { b = 1",
        b"}",
        b"a = \"x",
        b"a = 1 a = 2",
        b"\xff = 1",
        b"= 1",
    ];
    for text in wrong {
        assert!(parse(text).is_err(), "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn bounds_depth_and_count() {
    let deep = "a {".repeat(10_000);
    assert!(parse(deep.as_bytes()).is_err());
    let long = format!("a = [{}]", "1,".repeat(super::MAX_NODES));
    assert!(parse(long.as_bytes()).is_err());
}

#[test]
fn marks_strings_that_are_not_utf8_inside_sections_only() {
    assert!(!parse(b"description = \"\xff\"").unwrap().lossy);
    assert!(parse(b"vg { a = \"\xff\" }").unwrap().lossy);
}

fn values() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        any::<i64>().prop_map(Value::Integer),
        "[0-9]{1,5}\\.[0-9]{1,5}".prop_map(Value::Decimal),
        any::<String>()
            .prop_filter("zero bytes end a text", |text| !text.contains('\0'))
            .prop_map(Value::Text),
    ];
    prop_oneof![
        scalar.clone(),
        prop::collection::vec(scalar, 0..4).prop_map(Value::List)
    ]
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let item = values().prop_map(Item::Value);
    let item = item.prop_recursive(4, 32, 4, |inner| {
        prop::collection::btree_map("[a-z0-9_.+-]{1,8}|[ \"a-z]{1,4}", inner, 0..4).prop_map(
            |items| {
                Item::Section(
                    items
                        .into_iter()
                        .map(|(key, item)| Entry { key, item })
                        .collect(),
                )
            },
        )
    });
    prop::collection::btree_map("[a-z0-9_.+-]{1,8}", item, 0..4).prop_map(|items| {
        items
            .into_iter()
            .map(|(key, item)| Entry { key, item })
            .collect()
    })
}

proptest! {
    #[test]
    fn reads_what_it_writes(entries in entries()) {
        let mut printer = Printer::default();
        printer.entries(&entries);
        let document = parse(printer.finish().as_bytes()).unwrap();
        prop_assert_eq!(document.entries, entries);
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn never_panics_near_the_language(text in "[a-c0-9={}\\[\\],\"#\\\\ .\n-]{0,80}") {
        let _ = parse(text.as_bytes());
    }
}
