//! CreateVolume, DeleteVolume, DescribeVolumes.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::fault::{Code, Ec2Fault, Result};
use super::parameters::{Parameters, wrong};
use super::volume_filters::{self, Filter};
use super::xml::Xml;
use super::{Call, volume_view};
use crate::app::volumes::{CreateVolume, DeleteMode, SortDirection, SortKey, VolumeQuery};
use crate::app::{attachments, volumes};
use crate::error::{Error, Subject};
use crate::model::attachment::Attachment;
use crate::model::id::VolumeId;
use crate::model::volume::Volume;

/// Most volumes of a page.
const RESULTS_MAX: usize = 1000;
/// Pages of the database that one request looks through for its filters; then it answers with what it has and a token.
const SCAN_PAGES_MAX: usize = 20;
/// Longest client token, in characters.
const CLIENT_TOKEN_MAX_CHARS: usize = 64;
/// Largest size, in GiB; what the volume API takes too.
const SIZE_MAX_GIB: u64 = 0x7fff_ffff;
/// Most tags that a request may give.
const TAGS_MAX: usize = 50;

/// Parameters of CreateVolume that ask for something that is not built.
const UNBUILT: [&str; 10] = [
    "SnapshotId",
    "Iops",
    "KmsKeyId",
    "OutpostArn",
    "Throughput",
    "VolumeInitializationRate",
    "SourceVolumeId",
    "Operator",
    "Encrypted",
    "MultiAttachEnabled",
];

pub(super) async fn create(call: &Call, xml: &mut Xml) -> Result<()> {
    let wanted = wanted_volume(&call.parameters)?;
    volumes::check_may_change(&call.context)?;
    call.stop_if_dry()?;
    let volume = volumes::create(&call.service, &call.context, wanted).await?;
    volume_view::write(xml, &volume, &[]);
    Ok(())
}

fn wanted_volume(parameters: &Parameters) -> Result<CreateVolume> {
    let known = [
        "Size",
        "VolumeType",
        "AvailabilityZone",
        "ClientToken",
        "TagSpecification",
    ];
    parameters.only(&[known.as_slice(), UNBUILT.as_slice()].concat())?;
    let asked = UNBUILT.iter().find(|name| {
        parameters
            .get(name)
            .is_some_and(|value| !value.is_empty() && !value.eq_ignore_ascii_case("false"))
    });
    if let Some(name) = asked {
        return Err(Ec2Fault::coded(
            Code::UnsupportedOperation,
            format!("The parameter {name} is not supported by this service."),
        ));
    }
    let zone = parameters.required("AvailabilityZone")?;
    parameters.required("Size")?;
    let size_gib = parameters
        .number("Size")?
        .filter(|size| (1..=SIZE_MAX_GIB).contains(size))
        .ok_or_else(|| {
            let size = parameters.get("Size").unwrap_or_default();
            wrong(
                "size",
                size,
                &format!("It must be 1 to {SIZE_MAX_GIB} GiB."),
            )
        })?;
    let client_token = parameters
        .get("ClientToken")
        .filter(|token| !token.is_empty());
    if let Some(token) = client_token
        && (token.chars().count() > CLIENT_TOKEN_MAX_CHARS || !token.is_ascii())
    {
        let why = format!("It has at most {CLIENT_TOKEN_MAX_CHARS} ASCII characters.");
        return Err(wrong("clientToken", token, &why));
    }
    Ok(CreateVolume {
        size_gib,
        zone: Some(zone.to_owned()),
        flavor: parameters
            .get("VolumeType")
            .filter(|flavor| !flavor.is_empty())
            .map(str::to_owned),
        metadata: tags(parameters)?,
        client_token: client_token.map(str::to_owned),
        ..CreateVolume::default()
    })
}

fn tags(parameters: &Parameters) -> Result<BTreeMap<String, String>> {
    let mut tags = BTreeMap::new();
    for specification in parameters.members("TagSpecification")? {
        let resource = specification.required("ResourceType")?;
        if resource != "volume" {
            let why = "Only volumes can be tagged here.";
            return Err(wrong("resourceType", resource, why));
        }
        for tag in specification.members("Tag")? {
            let key = tag.required("Key")?;
            let value = tag.get("Value").unwrap_or_default();
            let bad_key = key.is_empty() || key.chars().count() > 127;
            if bad_key || value.chars().count() > 255 {
                let why = "A tag's key has 1 to 127 characters, its value at most 255.";
                return Err(wrong("tag", key, why));
            }
            if tags.insert(key.to_owned(), value.to_owned()).is_some() {
                return Err(wrong("tag", key, "The key is given twice."));
            }
        }
    }
    if tags.len() > TAGS_MAX {
        return Err(Ec2Fault::coded(
            Code::InvalidParameterValue,
            format!("A request has at most {TAGS_MAX} tags."),
        ));
    }
    Ok(tags)
}

async fn find(call: &Call, ec2_id: &str) -> Result<Volume> {
    let digits = ec2_id.strip_prefix("vol-").unwrap_or_default();
    let well_formed =
        matches!(digits.len(), 8 | 17) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    if !well_formed {
        return Err(wrong("volume", ec2_id, "Expected: 'vol-...'."));
    }
    volumes::get_by_ec2_id(&call.service, &call.context, ec2_id)
        .await
        .map_err(|error| named(error, ec2_id))
}

/// Clients know the EC2 name only.
fn named(error: Error, ec2_id: &str) -> Ec2Fault {
    match error.subject {
        Subject::Volume => error.on(ec2_id).into(),
        _ => error.into(),
    }
}

pub(super) async fn delete(call: &Call, xml: &mut Xml) -> Result<()> {
    call.parameters.only(&["VolumeId"])?;
    let ec2_id = call.parameters.required("VolumeId")?;
    let volume = find(call, ec2_id).await?;
    volumes::check_may_change(&call.context)?;
    call.stop_if_dry()?;
    volumes::delete(&call.service, &call.context, volume.id, DeleteMode::Normal)
        .await
        .map_err(|error| match named(error, ec2_id) {
            Ec2Fault::App(error, _) => Ec2Fault::App(error, Some(volume.status)),
            other => other,
        })?;
    xml.text("return", "true");
    Ok(())
}

pub(super) async fn describe(call: &Call, xml: &mut Xml) -> Result<()> {
    let parameters = &call.parameters;
    parameters.only(&["VolumeId", "Filter", "MaxResults", "NextToken"])?;
    let ids = parameters.list("VolumeId")?;
    let filters = volume_filters::read(parameters)?;
    let max_results = max_results(parameters, call.service.config.limits.page_max)?;
    if !ids.is_empty() && parameters.get("MaxResults").is_some() {
        return Err(Ec2Fault::coded(
            Code::InvalidParameterCombination,
            "The parameter volumes cannot be used with the parameter maxResults.",
        ));
    }
    let marker = match parameters
        .get("NextToken")
        .filter(|token| !token.is_empty())
    {
        Some(token) => Some(marker_of(token)?),
        None => None,
    };
    call.stop_if_dry()?;

    let page = if ids.is_empty() {
        scan(call, &filters, marker, max_results).await?
    } else {
        named_volumes(call, &filters, &ids).await?
    };
    xml.items("volumeSet", &page.volumes, |xml, volume| {
        volume_view::write(xml, volume, &page.attachments);
    });
    if let Some(last) = page.next {
        xml.text("nextToken", &token_of(last));
    }
    Ok(())
}

#[derive(Default)]
struct Described {
    volumes: Vec<Volume>,
    attachments: Vec<Attachment>,
    /// The last volume looked at, when there are more behind it.
    next: Option<VolumeId>,
}

async fn named_volumes(call: &Call, filters: &[Filter], ids: &[&str]) -> Result<Described> {
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        let volume = find(call, id).await?;
        if !found.iter().any(|known: &Volume| known.id == volume.id) {
            found.push(volume);
        }
    }
    let mut page = Described::default();
    take_passing(call, filters, found, usize::MAX, &mut page).await?;
    Ok(page)
}

async fn scan(
    call: &Call,
    filters: &[Filter],
    marker: Option<VolumeId>,
    max_results: usize,
) -> Result<Described> {
    let mut query = VolumeQuery {
        sort: vec![(SortKey::CreatedAt, SortDirection::Ascending)],
        marker,
        limit: filters.is_empty().then_some(max_results),
        ..VolumeQuery::default()
    };
    for filter in filters {
        narrow(&mut query, filter);
    }
    let mut page = Described::default();
    for _ in 0..SCAN_PAGES_MAX {
        let found = volumes::list(&call.service, &call.context, query.clone())
            .await
            .map_err(|error| match error.kind {
                // The volume that the token names is gone.
                crate::error::ErrorKind::Invalid if query.marker.is_some() => bad_token(),
                _ => error.into(),
            })?;
        let last = found.items.last().map(|volume| volume.id);
        let cut = take_passing(call, filters, found.items, max_results, &mut page).await?;
        page.next = cut.or(last.filter(|_| found.has_more));
        if page.next.is_none() || page.volumes.len() >= max_results {
            break;
        }
        query.marker = page.next;
    }
    Ok(page)
}

/// Leaves to the database what it can decide exactly; the filter is applied again to what comes back.
fn narrow(query: &mut VolumeQuery, filter: &Filter) {
    let Some(value) = filter.exact() else {
        return;
    };
    if let Some(key) = filter.name.strip_prefix("tag:") {
        query.metadata.insert(key.to_owned(), value.to_owned());
    } else if filter.name == "availability-zone" {
        query.zone = Some(value.to_owned());
    } else if filter.name == "size"
        && let Ok(size) = value.parse()
    {
        query.size_gib = Some(size);
    }
}

/// Adds the volumes that pass until the page is full; returns the last one taken when some were left over.
async fn take_passing(
    call: &Call,
    filters: &[Filter],
    found: Vec<Volume>,
    max_results: usize,
    page: &mut Described,
) -> Result<Option<VolumeId>> {
    if found.is_empty() {
        return Ok(None);
    }
    let ids: Vec<_> = found.iter().map(|volume| volume.id).collect();
    let attached = attachments::of_volumes(&call.service, &call.context, &ids).await?;
    let mut cut = None;
    for volume in found {
        if page.volumes.len() == max_results {
            cut = page.volumes.last().map(|volume| volume.id);
            break;
        }
        let mut passes = true;
        for filter in filters {
            passes &= filter.passes(&volume, &attached)?;
        }
        if passes {
            page.volumes.push(volume);
        }
    }
    page.attachments.extend(attached);
    Ok(cut)
}

fn max_results(parameters: &Parameters, page_max: usize) -> Result<usize> {
    let most = RESULTS_MAX.min(page_max).max(1);
    match parameters.number("MaxResults")? {
        None => Ok(most),
        Some(0) => Err(wrong("maxResults", "0", "It must be at least 1.")),
        Some(number) => Ok(usize::try_from(number).unwrap_or(most).min(most)),
    }
}

fn token_of(id: VolumeId) -> String {
    URL_SAFE_NO_PAD.encode(id.0.as_bytes())
}

fn marker_of(token: &str) -> Result<VolumeId> {
    URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| Uuid::from_slice(&bytes).ok())
        .map(VolumeId)
        .ok_or_else(bad_token)
}

fn bad_token() -> Ec2Fault {
    Ec2Fault::coded(
        Code::InvalidNextToken,
        "The specified NextToken is not valid. Begin again without one.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(query: &str) -> Result<CreateVolume> {
        wanted_volume(&Parameters::parse(query, b"").expect("good parameters"))
    }

    #[test]
    fn reads_create_volume() {
        let wanted = wanted(
            "Size=8&AvailabilityZone=nova&VolumeType=gold&ClientToken=t&Encrypted=false\
             &TagSpecification.1.ResourceType=volume&TagSpecification.1.Tag.1.Key=Name\
             &TagSpecification.1.Tag.1.Value=db",
        )
        .expect("a good request");
        assert_eq!(wanted.size_gib, 8);
        assert_eq!(wanted.flavor.as_deref(), Some("gold"));
        assert_eq!(wanted.client_token.as_deref(), Some("t"));
        assert_eq!(wanted.metadata["Name"], "db");
    }

    #[test]
    fn refuses_create_volume_with_ec2s_codes() {
        let code = |query: &str| wanted(query).expect_err(query).code();
        assert_eq!(code("Size=8"), Code::MissingParameter);
        assert_eq!(code("AvailabilityZone=nova"), Code::MissingParameter);
        for size in [
            "0",
            "-1",
            "1.5",
            "8GiB",
            "",
            "99999999999999999999",
            "2147483648",
        ] {
            let query = format!("AvailabilityZone=nova&Size={size}");
            assert_eq!(code(&query), Code::InvalidParameterValue, "{size}");
        }
        let good = "AvailabilityZone=nova&Size=8";
        assert_eq!(
            code(&format!("{good}&SnapshotId=snap-1")),
            Code::UnsupportedOperation
        );
        assert_eq!(
            code(&format!("{good}&Encrypted=true")),
            Code::UnsupportedOperation
        );
        assert_eq!(code(&format!("{good}&Colour=red")), Code::UnknownParameter);
        let long = format!("{good}&ClientToken={}", "x".repeat(65));
        assert_eq!(code(&long), Code::InvalidParameterValue);
        let tag = format!("{good}&TagSpecification.1.ResourceType=instance");
        assert_eq!(code(&tag), Code::InvalidParameterValue);
    }

    #[test]
    fn paging_tokens_are_opaque_and_checked() {
        let id = VolumeId(Uuid::from_u128(7));
        assert_eq!(marker_of(&token_of(id)).expect("our own"), id);
        for token in ["x", "", "AAAA", "!!!!"] {
            let refusal = marker_of(token).expect_err("not ours");
            assert_eq!(refusal.code(), Code::InvalidNextToken);
        }
    }
}
