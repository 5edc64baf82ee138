//! DescribeSnapshotAttribute, ModifySnapshotAttribute and ResetSnapshotAttribute: whom a snapshot is shared with.
//!
//! Source of the words: recordings of EC2 of September 2026; where snapshots may not be public, our own.

use super::fault::{Code, Ec2Fault, Result};
use super::ids::{Dialect, Noun};
use super::parameters::Arguments;
use super::route::{Action, Call, DryRun, Element};
use super::schema::{Kind, LIST_MAX, Parameter};
use super::snapshots::{self, SNAPSHOT_ID};
use super::words;
use super::xml::Xml;
use crate::app::snapshot_sharing::{self, ShareChange};
use crate::auth::rule::Rule;
use crate::error::{Error, ErrorKind, Subject};
use crate::model::snapshot_sharing::EVERYBODY;

/// Entries of a request at most, those that change nothing too.
const ENTRIES_MAX: usize = 500;
/// The one group that there is.
const ALL: &str = "all";
/// The attribute that can be changed.
const PERMISSION: &str = "createVolumePermission";

const TEXT: Kind = Kind::Text { max: 1024 };
const ATTRIBUTE: Parameter = Parameter::new("Attribute", TEXT);
const ENTRY: &[Parameter] = &[
    Parameter::new("UserId", TEXT),
    Parameter::new("Group", TEXT),
];

pub(super) const ACTIONS: &[Action] = &[
    Action::new("DescribeSnapshotAttribute", |call, xml| {
        Box::pin(describe(call, xml))
    })
    .rules(&[Rule::VolumeGetSnapshot])
    .dry_run(DryRun::First)
    .parameters(&[
        ATTRIBUTE.required("The request must contain the parameter Attribute"),
        SNAPSHOT_ID,
    ])
    .answers(&[
        Element::text("snapshotId"),
        Element::of(
            PERMISSION,
            &[Element::text("userId"), Element::text("group")],
        ),
        Element::text("productCodes"),
    ])
    .remark("of the project's own; `productCodes` are always empty"),
    Action::new("ModifySnapshotAttribute", |call, xml| {
        Box::pin(modify(call, xml))
    })
    .rules(&[Rule::VolumeUpdateSnapshot])
    .parameters(&[
        ATTRIBUTE,
        Parameter::new(
            "CreateVolumePermission",
            Kind::Struct(&[
                Parameter::new("Add", Kind::Structs(ENTRY, LIST_MAX)),
                Parameter::new("Remove", Kind::Structs(ENTRY, LIST_MAX)),
            ]),
        ),
        Parameter::new("OperationType", TEXT),
        SNAPSHOT_ID,
        Parameter::new("UserGroup", Kind::List(&TEXT, LIST_MAX)),
        Parameter::new("UserId", Kind::List(&TEXT, LIST_MAX)),
    ])
    .answers(&[Element::text("return")])
    .remark("accounts are projects; encrypted snapshots are shared with nobody"),
    Action::new("ResetSnapshotAttribute", |call, xml| {
        Box::pin(reset(call, xml))
    })
    .rules(&[Rule::VolumeUpdateSnapshot])
    .parameters(&[
        ATTRIBUTE.required("The request must contain the parameter Attribute"),
        Parameter::new("SnapshotId", Kind::Id(Noun::Snapshot, Dialect::Malformed))
            .required("The request must contain the parameter SnapshotId"),
    ])
    .answers(&[Element::text("return")])
    .remark("`createVolumePermission`: it is shared with nobody any more"),
];

async fn describe(call: &Call, xml: &mut Xml) -> Result<()> {
    let given = call.arguments();
    let attribute = given.text("Attribute").unwrap_or_default();
    let is_permission = attribute == PERMISSION;
    if !is_permission && attribute != "productCodes" {
        return Err(unknown_attribute());
    }
    let ec2_id = given.text("SnapshotId").unwrap_or_default();
    let snapshot = snapshots::find_own(call, ec2_id).await?;
    if !is_permission {
        xml.text("snapshotId", &snapshot.ec2_id);
        xml.empty("productCodes");
        return Ok(());
    }
    let shares = snapshot_sharing::shares(&call.service, &call.context, snapshot.id).await;
    let shares = shares.map_err(|error| snapshots::named(error, ec2_id))?;
    xml.text("snapshotId", &snapshot.ec2_id);
    xml.items(PERMISSION, &shares, |xml, project| match project.as_str() {
        EVERYBODY => xml.text("group", ALL),
        project => xml.text("userId", project),
    });
    Ok(())
}

fn unknown_attribute() -> Ec2Fault {
    Ec2Fault::coded(Code::InvalidRequest, "The request received was invalid.")
}

async fn modify(call: &Call, xml: &mut Xml) -> Result<()> {
    let given = call.arguments();
    let change = wanted_change(given)?;
    change_shares(call, given, change).await?;
    xml.text("return", "true");
    Ok(())
}

async fn reset(call: &Call, xml: &mut Xml) -> Result<()> {
    let given = call.arguments();
    if given.text("Attribute") != Some(PERMISSION) {
        return Err(unknown_attribute());
    }
    change_shares(call, given, ShareChange::Clear).await?;
    xml.text("return", "true");
    Ok(())
}

async fn change_shares(call: &Call, given: Arguments<'_>, change: ShareChange) -> Result<()> {
    let ec2_id = given.text("SnapshotId").unwrap_or_default();
    let snapshot = snapshots::find_own(call, ec2_id).await?;
    let (service, context) = (&call.service, &call.context);
    snapshot_sharing::change_shares(service, context, snapshot.id, change)
        .await
        .map_err(|error| not_shared(error, ec2_id))
}

/// Why a snapshot is not shared as it was asked for.
fn not_shared(error: Error, ec2_id: &str) -> Ec2Fault {
    let code = match (error.kind, error.subject) {
        (ErrorKind::NotFound, Subject::Identity) => return odd_account(&error.object),
        (ErrorKind::Conflict, Subject::Snapshot) => Code::OperationNotPermitted,
        (ErrorKind::QuotaExceeded, _) => Code::ResourceLimitExceeded,
        _ => return snapshots::named(error, ec2_id),
    };
    Ec2Fault::coded(code, error.public)
}

fn odd_account(account: &str) -> Ec2Fault {
    Ec2Fault::coded(
        Code::InvalidAmiAttributeItemValue,
        format!("UserId {}", words::shown(account)),
    )
}

/// Reads what is asked for, in the form of today or that of 2008.
fn wanted_change(given: Arguments<'_>) -> Result<ShareChange> {
    let combined = |words: &str| Ec2Fault::coded(Code::InvalidParameterCombination, words);
    let group = given.group("CreateVolumePermission");
    let (add, remove) = (group.members("Add"), group.members("Remove"));
    if !add.is_empty() && !remove.is_empty() {
        return Err(combined(
            "One and only one operation type may be specified for createVolumePermissions",
        ));
    }
    if !add.is_empty() {
        return Ok(ShareChange::Add(projects(&entries(&add))?));
    }
    if !remove.is_empty() {
        return Ok(ShareChange::Remove(projects(&entries(&remove))?));
    }
    let (users, groups) = (given.list("UserId"), given.list("UserGroup"));
    let operation = given.text("OperationType");
    match given.text("Attribute") {
        Some(PERMISSION) => {}
        Some(_) => {
            return Err(Ec2Fault::coded(
                Code::InvalidParameterValue,
                "Unrecognized attribute.",
            ));
        }
        None if operation.is_none() && users.is_empty() && groups.is_empty() => {
            return Err(combined("No attributes specified."));
        }
        None => {
            return Err(words::missing(
                "Value for parameter attribute is invalid. Parameter may not be null or empty.",
            ));
        }
    }
    let users = users.into_iter().map(Entry::User);
    let entries: Vec<Entry<'_>> = users.chain(groups.into_iter().map(Entry::Group)).collect();
    match operation {
        _ if entries.is_empty() => {}
        Some("add") => return Ok(ShareChange::Add(projects(&entries)?)),
        Some("remove") => return Ok(ShareChange::Remove(projects(&entries)?)),
        Some(other) => {
            let why = "It is one of: add, remove.";
            return Err(words::wrong("operationType", other, why));
        }
        None => {}
    }
    Err(combined(
        "No operation specified for createVolumePermission attribute.",
    ))
}

/// Whom something is shared with.
enum Entry<'a> {
    User(&'a str),
    Group(&'a str),
}

fn entries<'a>(members: &[Arguments<'a>]) -> Vec<Entry<'a>> {
    let of_member = |member: &Arguments<'a>| {
        let user = member.get("UserId").map(Entry::User);
        let group = member.get("Group").map(Entry::Group);
        [user, group]
    };
    members.iter().flat_map(of_member).flatten().collect()
}

fn projects(entries: &[Entry<'_>]) -> Result<Vec<String>> {
    if entries.len() > ENTRIES_MAX {
        return Err(Ec2Fault::coded(
            Code::InvalidParameterValue,
            format!("Modification size must not be greater than {ENTRIES_MAX}."),
        ));
    }
    entries.iter().map(project).collect()
}

fn project(entry: &Entry<'_>) -> Result<String> {
    match entry {
        Entry::Group(ALL) => Ok(EVERYBODY.to_owned()),
        Entry::Group(other) => Err(Ec2Fault::coded(
            Code::InvalidAmiAttributeItemValue,
            format!("UserGroup {}", words::shown(other)),
        )),
        Entry::User(account) => {
            // A project of another identity service may have nearly any id.
            let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'*';
            let has_form = (1..=64).contains(&account.len()) && account.bytes().all(is_plain);
            match has_form {
                true => Ok((*account).to_owned()),
                false => Err(odd_account(account)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parameters::Parameters;
    use super::*;

    fn change(query: &str) -> std::result::Result<ShareChange, (Code, String)> {
        let parameters = Parameters::parse(query, b"").expect("text");
        wanted_change(parameters.arguments()).map_err(|fault| (fault.code(), fault.message()))
    }

    #[test]
    fn reads_both_forms() {
        for query in [
            "CreateVolumePermission.Add.1.UserId=p&CreateVolumePermission.Add.2.Group=all",
            "Attribute=createVolumePermission&OperationType=add&UserId.1=p&UserGroup.1=all",
        ] {
            let found = change(query).expect(query);
            assert!(
                matches!(&found, ShareChange::Add(with) if *with == ["p", EVERYBODY]),
                "{found:?}"
            );
        }
        let found = change("CreateVolumePermission.Remove.1.UserId=p").expect("a change");
        assert!(matches!(&found, ShareChange::Remove(with) if *with == ["p"]));
    }

    #[test]
    fn refuses_in_ec2s_words() {
        let permission = "Attribute=createVolumePermission";
        for (query, code, words) in [
            (
                String::new(),
                Code::InvalidParameterCombination,
                "No attributes specified.",
            ),
            (
                "OperationType=add&UserId.1=p".to_owned(),
                Code::MissingParameter,
                "Value for parameter attribute is invalid. Parameter may not be null or empty.",
            ),
            (
                "Attribute=productCodes&OperationType=add".to_owned(),
                Code::InvalidParameterValue,
                "Unrecognized attribute.",
            ),
            (
                format!("{permission}&UserId.1=p"),
                Code::InvalidParameterCombination,
                "No operation specified for createVolumePermission attribute.",
            ),
            (
                format!("{permission}&OperationType=swap&UserId.1=p"),
                Code::InvalidParameterValue,
                "Value (swap) for parameter operationType is invalid. It is one of: add, remove.",
            ),
            (
                "CreateVolumePermission.Add.1.UserId=p&CreateVolumePermission.Remove.1.UserId=q"
                    .to_owned(),
                Code::InvalidParameterCombination,
                "One and only one operation type may be specified for createVolumePermissions",
            ),
            (
                "CreateVolumePermission.Add.1.UserId=a%20b".to_owned(),
                Code::InvalidAmiAttributeItemValue,
                "UserId a b",
            ),
            (
                "CreateVolumePermission.Add.1.Group=some".to_owned(),
                Code::InvalidAmiAttributeItemValue,
                "UserGroup some",
            ),
        ] {
            let refused = change(&query).expect_err(&query);
            assert_eq!(refused, (code, words.to_owned()), "{query}");
        }
        let many: String = (1..=501)
            .map(|place| format!("&CreateVolumePermission.Add.{place}.UserId=p"))
            .collect();
        let (_, words) = change(&many[1..]).expect_err("too many");
        assert_eq!(words, "Modification size must not be greater than 500.");
    }
}
