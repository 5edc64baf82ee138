//! CopyVolumes: a volume of what another one holds at some moment.

use super::fault::Result;
use super::ids::{Dialect, Noun};
use super::route::{Action, Call, DryRun, Element};
use super::schema::{Kind, Parameter};
use super::volumes::{self as requests, SIZE, check_client_token, find, named};
use super::xml::Xml;
use super::{performance, tags, volume_view};
use crate::app::volume_performance::Shown;
use crate::app::volumes::{self, CreateVolume, VolumeSource};
use crate::auth::rule::Rule;

/// Longest text that is read at all, in characters.
const TEXT: Kind = Kind::Text { max: 1024 };

pub(super) const ACTIONS: &[Action] =
    &[
        Action::new("CopyVolumes", |call, xml| Box::pin(copy(call, xml)))
            .rules(&[Rule::VolumeCreate])
            .dry_run(DryRun::AfterLookup)
            .parameters(&[
                Parameter::new(
                    "SourceVolumeId",
                    Kind::Id(Noun::Volume, Dialect::Addressed),
                )
                .required("The request must contain the parameter SourceVolumeId"),
                SIZE,
                Parameter::new("VolumeType", TEXT),
                performance::IOPS,
                performance::THROUGHPUT,
                Parameter::new("MultiAttachEnabled", Kind::Boolean),
                Parameter::new("Encrypted", Kind::Boolean),
                Parameter::new("KmsKeyId", TEXT),
                // Its length is checked where EC2 checks it: after a dry run.
                Parameter::new("ClientToken", TEXT),
                tags::SPECIFICATION,
            ])
            .answers(&[Element::of("volumeSet", volume_view::VOLUME)])
            .remark(
                "one volume, in the zone of the source, which may be in use; without a size it is as large, without a type it has its \
                 type",
            ),
    ];

async fn copy(call: &Call, xml: &mut Xml) -> Result<()> {
    let given = call.arguments();
    let tags = tags::read(given, "volume")?;
    let ec2_id = given.text("SourceVolumeId").unwrap_or_default();
    let source = find(call, ec2_id).await?;
    let of_source = VolumeSource::Volume(source.id);
    let limits = performance::type_of(call, given.text("VolumeType"), of_source).await?;
    let size_gib = requests::size(given);
    let ebs = performance::judge(
        &limits,
        size_gib.unwrap_or(source.size_gib),
        performance::asked(given),
    )?;
    performance::check_encryption(given, &limits, true)?;
    call.stop_if_dry()?;
    check_client_token(given)?;
    let wanted = CreateVolume {
        size_gib: size_gib.unwrap_or_default(),
        source: of_source,
        flavor: given.text("VolumeType").map(|_| limits.label.clone()),
        metadata: tags,
        client_token: given.text("ClientToken").map(str::to_owned),
        multiattach: performance::check_multi_attach(given, &limits)?,
        ebs: ebs.clone(),
        ..CreateVolume::default()
    };
    let volume = volumes::create(&call.service, &call.context, wanted)
        .await
        .map_err(|error| named(error, ec2_id).of_volume(source.status))?;
    let performance = limits.shown(volume.size_gib, &ebs);
    xml.items("volumeSet", [&volume], |xml, volume| {
        volume_view::write_new(
            xml,
            volume,
            &Shown {
                performance,
                ebs: ebs.clone(),
            },
        );
    });
    Ok(())
}
