//! Which names and tags LVM2 takes.

use crate::error::{Error, Result};

/// Bytes of the longest name.
///
/// # Source
/// lvm(8), "Valid names": 127 characters; of a group and its volume together, so that the tools' device names fit.
pub const MAX_NAME: usize = 127;
/// Bytes of the longest tag.
const MAX_TAG: usize = 1024;
/// How names of LVM2's own volumes begin.
///
/// # Source
/// lvm(8), "Valid names".
const RESERVED_BEGINS: [&str; 2] = ["pvmove", "snapshot"];
/// What names of LVM2's own volumes hold.
const RESERVED_PARTS: [&str; 17] = [
    "_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_iorig", "_mimage", "_mlog", "_pmspare",
    "_rimage", "_rmeta", "_tdata", "_tmeta", "_vdata", "_vorigin", "_wcorig", "_imeta",
];

/// Checks the name of a volume group.
///
/// # Errors
/// [`Error::Name`].
pub fn check_group_name(name: &str) -> Result<()> {
    check("volume group name", name)
}

/// Checks the name of a logical volume.
///
/// # Errors
/// [`Error::Name`].
pub fn check_logical_volume_name(name: &str) -> Result<()> {
    let what = "logical volume name";
    check(what, name)?;
    let is_reserved = RESERVED_BEGINS.iter().any(|begin| name.starts_with(begin))
        || RESERVED_PARTS.iter().any(|part| name.contains(part));
    match is_reserved {
        true => Err(refused(what, name, "LVM2 keeps such names for itself")),
        false => Ok(()),
    }
}

/// Checks a tag.
///
/// # Errors
/// [`Error::Name`].
pub fn check_tag(tag: &str) -> Result<()> {
    let is_right = |byte: u8| byte.is_ascii_alphanumeric() || b"_+.-/=!:#&".contains(&byte);
    let rule = match () {
        () if tag.is_empty() || tag.len() > MAX_TAG => "it has 1 to 1024 characters",
        () if tag.starts_with('-') => "it does not begin with -",
        () if !tag.bytes().all(is_right) => "it has letters, digits and _ + . - / = ! : # &",
        () => return Ok(()),
    };
    Err(refused("tag", tag, rule))
}

/// Checks the length and the characters of a logical volume's name; LVM2's own ones pass.
pub(super) fn check_volume_characters(name: &str) -> Result<()> {
    check("logical volume name", name)
}

fn check(what: &'static str, name: &str) -> Result<()> {
    let is_right = |byte: u8| byte.is_ascii_alphanumeric() || b"_+.-".contains(&byte);
    let rule = match () {
        () if name.is_empty() || name.len() > MAX_NAME => "it has 1 to 127 characters",
        () if name.starts_with('-') || name == "." || name == ".." => {
            "it does not begin with - and is neither . nor .."
        }
        () if !name.bytes().all(is_right) => "it has letters, digits and _ + . -",
        () => return Ok(()),
    };
    Err(refused(what, name, rule))
}

fn refused(what: &'static str, text: &str, rule: &'static str) -> Error {
    // What was refused for its length is not repeated at length.
    let text = text.chars().take(MAX_NAME + 1).collect();
    Error::Name { what, text, rule }
}
