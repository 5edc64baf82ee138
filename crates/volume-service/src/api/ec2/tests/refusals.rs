//! The document that is made of the table of refusals, `tests/clients/ec2_refusals.tsv`, which is run against the service in
//! `tests/clients`. `XENSM_UPDATE_API_DOCS=1` writes it anew.

use std::fmt::Write;
use std::path::PathBuf;

use crate::api::ec2::fault::Code;
use crate::api::ec2::route;

const HEAD: &str = "\
# What EC2 refuses, and how

Made of [ec2_refusals.tsv](../../tests/clients/ec2_refusals.tsv), which has how to provoke each of them too: `XENSM_UPDATE_API_DOCS=1 cargo test -p volume-service --lib documents` writes it anew.
The tests send every request and compare status, code and words; `x` is what the request had, a word in braces a thing of that kind, and where there are no words any will do.
Sources: R recordings of AWS of September 2026; D the page \"Error codes for the Amazon EC2 API\"; B botocore's model; C the EBS CSI driver; T Terraform; E messages as people posted them; ours where AWS says nothing or cannot be followed.
Where recordings and documentation differ, the recordings are followed.

| action | when | code | words | source |
|---|---|---|---|---|
";

/// One line of the table.
struct Row<'a> {
    action: &'a str,
    when: &'a str,
    request: &'a str,
    code: &'a str,
    status: &'a str,
    words: &'a str,
    source: &'a str,
    remark: &'a str,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn table() -> String {
    let path = root().join("tests/clients/ec2_refusals.tsv");
    std::fs::read_to_string(path).expect("the table of refusals")
}

fn rows(table: &str) -> Vec<Row<'_>> {
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let mut parts = line.split('\t');
            let mut next = || parts.next().unwrap_or_default();
            Row {
                action: next(),
                when: next(),
                request: next(),
                code: next(),
                status: next(),
                words: next(),
                source: next(),
                remark: next(),
            }
        })
        .collect()
}

#[test]
fn the_documents_of_refusals_are_the_ones_that_are_kept() {
    let table = table();
    let mut made = HEAD.to_owned();
    for row in rows(&table).iter().filter(|row| row.remark != "unproven") {
        let (words, source) = match row.request {
            "-" => (String::new(), format!("{}; {}", row.source, row.remark)),
            _ => (row.words.replace('|', "\\|"), row.source.to_owned()),
        };
        let (action, when, code) = (row.action.replace('*', "\\*"), row.when, row.code);
        writeln!(
            made,
            "| {action} | {when} | {code} {} | {words} | {source} |",
            row.status
        )
        .expect("a string");
    }
    let path = root().join("docs/api/ec2-refusals.md");
    if std::fs::read_to_string(&path).is_ok_and(|kept| kept == made) {
        return;
    }
    if std::env::var_os("XENSM_UPDATE_API_DOCS").is_some() {
        return std::fs::write(&path, made).expect("docs can be written");
    }
    panic!(
        "docs/api/ec2-refusals.md is not what the table says: set XENSM_UPDATE_API_DOCS=1 and run this test again"
    );
}

#[test]
fn every_code_of_the_table_is_known_with_its_status() {
    let table = table();
    for row in rows(&table) {
        if row.action.starts_with("ebs:") || row.request == "-" {
            continue;
        }
        let mut known = Code::ALL.iter().map(|code| code.word_and_status());
        let is_known =
            known.any(|(word, status)| word == row.code && status.as_str() == row.status);
        assert!(is_known, "{} of {}", row.code, row.action);
    }
}

#[test]
fn what_is_not_built_is_not_in_the_table_of_actions() {
    for name in route::UNBUILT {
        assert!(route::find(name).is_none(), "{name}");
    }
}
