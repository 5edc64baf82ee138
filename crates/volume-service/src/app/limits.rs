//! What a request may hold at most, and the sentences that say so.

use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind, Result, Subject};

/// Longest name, description, and metadata key, in characters; OpenStack's limit.
pub const TEXT_MAX: usize = 255;
/// Longest value of metadata, in characters: EC2's limit. OpenStack's requests have at most [`TEXT_MAX`], as their schemas say.
pub const METADATA_VALUE_MAX: usize = 256;
/// Most metadata keys of a volume; OpenStack's default quota.
pub const METADATA_MAX: usize = 128;
/// Largest volume in GiB: a VHD holds no more.
pub const SIZE_GIB_MAX: u64 = 2040;
/// Most ids that one list may name.
pub const IDS_MAX: usize = 1000;
/// Largest offset into a list; deeper pages are reached by a marker.
pub const OFFSET_MAX: usize = 100_000;
/// Largest connector of an attachment, in bytes of JSON.
pub const CONNECTOR_MAX_BYTES: usize = 16 * 1024;
/// Most attachments of one volume.
pub const ATTACHMENTS_PER_VOLUME_MAX: usize = 64;
/// Most parameters of a backend.
pub const PARAMETERS_MAX: usize = 64;
/// Most extra specs of a flavor, and figures of QoS specs.
pub const SPECS_MAX: usize = 256;
/// Longest value of a backend's parameter, in bytes.
pub const PARAMETER_MAX_BYTES: usize = 4096;

/// A name or description.
pub(super) fn check_text(what: &str, text: &str) -> Result<()> {
    let length = text.chars().count();
    if length > TEXT_MAX {
        return Err(Error::invalid(format!(
            "The {what} has {length} characters, more than {TEXT_MAX}."
        )));
    }
    if text.contains('\0') {
        return Err(Error::invalid(format!(
            "The {what} contains a NUL character."
        )));
    }
    Ok(())
}

/// A name that must be there.
pub(super) fn check_name(what: &str, text: &str) -> Result<()> {
    check_text(what, text)?;
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        return Err(Error::invalid(format!(
            "The {what} must have 1 to {TEXT_MAX} characters and no control characters."
        )));
    }
    Ok(())
}

/// A volume's size.
pub(super) fn check_size(size_gib: u64) -> Result<()> {
    if (1..=SIZE_GIB_MAX).contains(&size_gib) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "Volume size '{size_gib}' must be an integer and between 1 and {SIZE_GIB_MAX} GiB, which is what a VHD can hold."
    ))
    .on(size_gib.to_string()))
}

/// Keys and values of a request's metadata.
pub(super) fn check_metadata(metadata: &BTreeMap<String, String>) -> Result<()> {
    for (key, value) in metadata {
        let length = key.chars().count();
        if length == 0 || length > TEXT_MAX {
            return Err(metadata_error(
                key,
                format!(
                    "Metadata property key must have 1 to {TEXT_MAX} characters, found {length}."
                ),
            ));
        }
        let length = value.chars().count();
        if length > METADATA_VALUE_MAX {
            return Err(metadata_error(
                key,
                format!(
                    "Metadata property value must have at most {METADATA_VALUE_MAX} characters, found {length}."
                ),
            ));
        }
        if key.contains('\0') || value.contains('\0') {
            return Err(metadata_error(
                key,
                "Metadata contains a NUL character.".to_owned(),
            ));
        }
    }
    check_metadata_count(metadata.len())
}

/// Extra specs of a flavor, or figures of QoS specs.
pub(super) fn check_specs(specs: &BTreeMap<String, String>) -> Result<()> {
    if specs.len() > SPECS_MAX {
        return Err(Error::invalid(format!(
            "There would be {} specs, more than {SPECS_MAX}.",
            specs.len()
        )));
    }
    for (name, value) in specs {
        check_name("name of a spec", name)?;
        check_text("value of a spec", value)?;
    }
    Ok(())
}

/// How many keys a volume has (or would have).
pub(super) fn check_metadata_count(count: usize) -> Result<()> {
    if count <= METADATA_MAX {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::QuotaExceeded,
        Subject::Metadata,
        format!("Maximum number of metadata items exceeds {METADATA_MAX}."),
    ))
}

/// What a list names, filters by and skips.
pub(super) fn check_list(ids: usize, metadata: usize, offset: usize) -> Result<()> {
    if ids > IDS_MAX {
        return Err(Error::invalid(format!(
            "A list names {ids} ids, more than {IDS_MAX}."
        )));
    }
    if metadata > METADATA_MAX {
        return Err(Error::invalid(format!(
            "A list is filtered by {metadata} metadata keys, more than {METADATA_MAX}."
        )));
    }
    if offset > OFFSET_MAX {
        return Err(Error::invalid(format!(
            "The offset is larger than {OFFSET_MAX}; use a marker."
        )));
    }
    Ok(())
}

fn metadata_error(key: &str, public: String) -> Error {
    Error::new(ErrorKind::Invalid, Subject::Metadata, public)
        .on(key.chars().take(TEXT_MAX).collect::<String>())
}
