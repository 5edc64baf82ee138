//! The document that is made of the table: the lists of actions in `docs/api/ec2.md`. `XENSM_UPDATE_API_DOCS=1` writes them anew.

use std::fmt::Write;
use std::path::PathBuf;

use serde_json::Value;

use crate::api::ec2_table;

/// The lines between which the lists stand.
const MARKS: [&str; 2] = [
    "<!-- The table of actions: `XENSM_UPDATE_API_DOCS=1 cargo test -p volume-service --lib documents` writes it. -->\n",
    "<!-- The end of the table of actions. -->\n",
];

#[test]
fn the_list_of_actions_is_the_one_that_is_kept() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("../../docs/api/ec2.md");
    let kept = std::fs::read_to_string(&path).expect("the document");
    let (before, rest) = kept.split_once(MARKS[0]).expect("the first mark");
    let (_, after) = rest.split_once(MARKS[1]).expect("the last mark");
    let made = format!("{before}{}{}{}{after}", MARKS[0], lists(), MARKS[1]);
    if kept == made {
        return;
    }
    if std::env::var_os("XENSM_UPDATE_API_DOCS").is_some() {
        return std::fs::write(&path, made).expect("docs can be written");
    }
    panic!(
        "docs/api/ec2.md is not what the table of actions says: set XENSM_UPDATE_API_DOCS=1 and run this test again"
    );
}

fn lists() -> String {
    let table = ec2_table();
    let actions = table["actions"].as_object().expect("actions");
    let mut text = String::from(
        "| action | parameters | not built | policy | remarks |\n|---|---|---|---|---|\n",
    );
    for (name, action) in actions {
        let of = |is_built: bool| -> String {
            let parameters = action["parameters"].as_array().expect("parameters");
            let wanted = parameters
                .iter()
                .filter(|parameter| parameter["built"] == is_built);
            let names: Vec<String> = wanted.map(|parameter| shown(&parameter["name"])).collect();
            names.join(", ")
        };
        let rules: Vec<String> = action["rules"]
            .as_array()
            .expect("rules")
            .iter()
            .map(shown)
            .collect();
        let rules = match rules.is_empty() {
            true => "none".to_owned(),
            false => rules.join(", "),
        };
        let remark = action["remark"].as_str().expect("a remark");
        writeln!(
            text,
            "| {name} | {} | {} | {rules} | {remark} |",
            of(true),
            of(false)
        )
        .expect("a string");
    }
    for (name, action) in actions {
        let filters = action["filters"].as_array().expect("filters");
        if !filters.is_empty() {
            let names: Vec<String> = filters.iter().map(shown).collect();
            write!(text, "\n### Filters of {name}\n{}.\n", names.join(", ")).expect("a string");
        }
    }
    text
}

fn shown(name: &Value) -> String {
    format!("`{}`", name.as_str().expect("a name"))
}
