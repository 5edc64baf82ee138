//! DescribeVolumeStatus.

use std::collections::HashMap;

use super::super::timestamp;
use super::fault::{Ec2Fault, Result};
use super::filters::{self, FILTER, Filter};
use super::ids::{Dialect, Noun};
use super::page::{self, BadToken, MAX_RESULTS, NEXT_TOKEN, Paging, Place};
use super::route::{Action, Call, Element};
use super::schema::{Kind, Parameter};
use super::volume_list::{find_all, place};
use super::volume_view::{self, ec2_statuses};
use super::words;
use super::xml::Xml;
use crate::app::volume_health::{self, VolumeHealth};
use crate::app::volumes::{SortDirection, SortKey, VolumeQuery};
use crate::app::{attachments, volumes};
use crate::auth::rule::Rule;
use crate::model::attachment::Attachment;
use crate::model::id::VolumeId;
use crate::model::volume::{Volume, VolumeStatus};

/// Ids of volumes in the list of their status; empty ones are passed over.
const IDS: Kind = Kind::Id(Noun::Volume, Dialect::Quoted);
/// What EC2 calls the event of a volume that cannot be used.
const EVENT_TYPE: &str = "io-performance:stalled";
const EVENT_WORDS: &str = "The storage of the volume does not answer. It is tried again.";
/// What can be done about it.
const ACTION_CODE: &str = "enable-volume-io";
const ACTION_WORDS: &str = "Connect the storage of the volume anew";

/// The filters that there are.
const NAMES: &[&str] = &[
    "action.code",
    "action.description",
    "action.event-id",
    "attachment-status.instance-id",
    "attachment-status.io-performance",
    "availability-zone",
    "event.description",
    "event.event-id",
    "event.event-type",
    "event.not-after",
    "event.not-before",
    "volume-status.details-name",
    "volume-status.details-status",
    "volume-status.status",
];

pub(super) const ACTIONS: &[Action] = &[Action::new("DescribeVolumeStatus", |call, xml| {
    Box::pin(describe(call, xml))
})
.rules(&[Rule::VolumeGetAll])
.parameters(&[
    page::ids("VolumeId", &IDS),
    FILTER,
    MAX_RESULTS,
    NEXT_TOKEN,
    Parameter::new("IncludeManagedResources", Kind::Boolean),
])
.filters(NAMES)
.paging(&PAGING)
.answers(&[
    Element::of("volumeStatusSet", STATUS),
    Element::text("nextToken"),
])
.remark(
    "`impaired` while the storage of a volume does not answer; volumes that are being deleted or have failed are not shown; filters \
     apply to what is on the page",
)];

const PAGING: Paging = Paging {
    mark: 6,
    ids: "volumeIdsSet",
    max_results: "maxResults",
    bad_token: BadToken::Unparsed,
};

const STATUS: &[Element] = &[
    Element::text("volumeId"),
    Element::text("availabilityZone"),
    Element::text("availabilityZoneId"),
    Element::of(
        "volumeStatus",
        &[
            Element::text("status"),
            Element::of("details", &[Element::text("name"), Element::text("status")]),
        ],
    ),
    Element::of(
        "eventsSet",
        &[
            Element::text("eventId"),
            Element::text("eventType"),
            Element::text("description"),
            Element::text("notBefore"),
        ],
    ),
    Element::of(
        "actionsSet",
        &[
            Element::text("code"),
            Element::text("description"),
            Element::text("eventId"),
            Element::text("eventType"),
        ],
    ),
    Element::of(
        "attachmentStatuses",
        &[Element::text("ioPerformance"), Element::text("instanceId")],
    ),
    Element::of(
        "initializationStatusDetails",
        &[
            Element::text("initializationType"),
            Element::text("progress"),
            Element::text("estimatedTimeToCompleteInSeconds"),
        ],
    ),
    volume_view::OPERATOR,
];

async fn describe(call: &Call, xml: &mut Xml) -> Result<()> {
    let given = call.arguments();
    let mut ids = given.list("VolumeId");
    ids.retain(|id| !id.is_empty());
    let wanted = page::read(call, &PAGING, &ids)?;
    let filters = filters::read(given, call.action.filters)?;
    let (volumes, next) = match ids.is_empty() {
        true => listed(call, &wanted).await?,
        false => (named(call, &ids).await?, None),
    };
    let mut shown = Vec::new();
    for one in with_attachments(call, volumes).await? {
        let is_wanted = filters.iter().all(|filter| one.passes(filter));
        filters::pause(&filters).await?;
        if is_wanted {
            shown.push(one);
        }
    }
    xml.items("volumeStatusSet", &shown, write);
    if let Some(last) = next {
        xml.text("nextToken", &page::token_of(&PAGING, last));
    }
    Ok(())
}

/// True for states of which nothing can be told.
fn is_hidden(status: VolumeStatus) -> bool {
    let shown = ec2_statuses(status);
    shown.contains(&"deleting") || shown.contains(&"error")
}

async fn named(call: &Call, ids: &[&str]) -> Result<Vec<Volume>> {
    let found = find_all(call, ids).await?;
    let hidden: Vec<&str> = found
        .iter()
        .filter(|volume| is_hidden(volume.status))
        .map(|volume| volume.ec2_id.as_str())
        .collect();
    match hidden.is_empty() {
        true => Ok(found),
        false => Err(words::absent(Noun::Volume, &hidden)),
    }
}

async fn listed(call: &Call, wanted: &page::Wanted) -> Result<(Vec<Volume>, Option<Place>)> {
    let shown = VolumeStatus::ALL.into_iter();
    let query = VolumeQuery {
        statuses: shown.filter(|status| !is_hidden(*status)).collect(),
        sort: vec![(SortKey::CreatedAt, SortDirection::Ascending)],
        after: wanted.after.map(|(us, id)| (us, VolumeId(id))),
        limit: Some(wanted.max_results),
        ..VolumeQuery::default()
    };
    let page = volumes::list(&call.service, &call.context, query).await?;
    let next = page.items.last().filter(|_| page.has_more).map(place);
    Ok((page.items, next))
}

/// A volume with all that its status tells of.
struct Shown {
    health: VolumeHealth,
    attachments: Vec<Attachment>,
}

async fn with_attachments(call: &Call, volumes: Vec<Volume>) -> Result<Vec<Shown>> {
    let (service, context) = (&call.service, &call.context);
    let ids: Vec<VolumeId> = volumes.iter().map(|volume| volume.id).collect();
    let mut attached: HashMap<VolumeId, Vec<Attachment>> = HashMap::new();
    for attachment in attachments::of_volumes(service, context, &ids).await? {
        let of_one = attached.entry(attachment.volume_id).or_default();
        of_one.push(attachment);
    }
    let healths = volume_health::of_volumes(service, context, volumes)
        .await
        .map_err(Ec2Fault::from)?;
    Ok(healths
        .into_iter()
        .map(|health| Shown {
            attachments: attached.remove(&health.volume.id).unwrap_or_default(),
            health,
        })
        .collect())
}

impl Shown {
    fn is_stalled(&self) -> bool {
        self.health.stalled_since_us.is_some()
    }

    fn status(&self) -> &'static str {
        if self.is_stalled() { "impaired" } else { "ok" }
    }

    fn io_performance(&self) -> &'static str {
        if self.is_stalled() {
            "stalled"
        } else {
            "normal"
        }
    }

    fn is_from_snapshot(&self) -> bool {
        self.health.volume.source_snapshot_id.is_some()
    }

    fn is_creating(&self) -> bool {
        self.health.volume.status == VolumeStatus::Creating
    }

    /// What was looked at, and how it was found.
    fn details(&self) -> Vec<(&'static str, &'static str)> {
        let (enabled, performance) = match self.is_stalled() {
            true => ("failed", "stalled"),
            false => ("passed", "not-applicable"),
        };
        let mut details = vec![("io-enabled", enabled), ("io-performance", performance)];
        if self.is_from_snapshot() {
            let state = match self.is_creating() {
                true => "initializing",
                false => "completed",
            };
            details.push(("initialization-state", state));
        }
        details
    }

    /// The same for as long as the volume is.
    fn event_id(&self) -> String {
        let digits = self.health.volume.ec2_id.strip_prefix("vol-");
        let digits = digits.and_then(|digits| digits.get(..8));
        format!("evol-{}", digits.unwrap_or_default())
    }

    fn instances(&self) -> impl Iterator<Item = &str> {
        let attachments = self.attachments.iter();
        attachments.filter_map(|attachment| attachment.instance_id.as_deref())
    }

    fn passes(&self, filter: &Filter) -> bool {
        let of_event = |text: &str| self.is_stalled() && filter.matches(text);
        match filter.name.as_str() {
            "action.code" => of_event(ACTION_CODE),
            "action.description" => of_event(ACTION_WORDS),
            "action.event-id" | "event.event-id" => of_event(&self.event_id()),
            "attachment-status.instance-id" => filter.matches_any(self.instances()),
            "attachment-status.io-performance" => {
                !self.attachments.is_empty() && filter.matches(self.io_performance())
            }
            "availability-zone" => filter.matches(&self.health.volume.zone),
            "event.description" => of_event(EVENT_WORDS),
            "event.event-type" => of_event(EVENT_TYPE),
            "event.not-before" => self
                .health
                .stalled_since_us
                .is_some_and(|us| filter.matches(&timestamp::ec2(us))),
            "volume-status.details-name" => {
                filter.matches_any(self.details().into_iter().map(|(name, _)| name))
            }
            "volume-status.details-status" => {
                filter.matches_any(self.details().into_iter().map(|(_, status)| status))
            }
            "volume-status.status" => filter.matches(self.status()),
            // No event is known to have an end; other names are checked before.
            _ => false,
        }
    }
}

fn write(xml: &mut Xml, shown: &Shown) {
    let volume = &shown.health.volume;
    xml.text("volumeId", &volume.ec2_id);
    xml.text("availabilityZone", &volume.zone);
    xml.text("availabilityZoneId", &volume.zone);
    xml.element("volumeStatus", |xml| {
        xml.text("status", shown.status());
        xml.items("details", shown.details(), |xml, (name, status)| {
            xml.text("name", name);
            xml.text("status", status);
        });
    });
    xml.items("eventsSet", shown.health.stalled_since_us, |xml, us| {
        xml.text("eventId", &shown.event_id());
        xml.text("eventType", EVENT_TYPE);
        xml.text("description", EVENT_WORDS);
        xml.time("notBefore", us);
    });
    xml.items("actionsSet", shown.health.stalled_since_us, |xml, _| {
        xml.text("code", ACTION_CODE);
        xml.text("description", ACTION_WORDS);
        xml.text("eventId", &shown.event_id());
        xml.text("eventType", EVENT_TYPE);
    });
    xml.items("attachmentStatuses", shown.instances(), |xml, instance| {
        xml.text("ioPerformance", shown.io_performance());
        xml.text("instanceId", instance);
    });
    if shown.is_from_snapshot() {
        let kind = match shown.health.ebs.initialization_rate {
            Some(_) => "provisioned-rate",
            None => "default",
        };
        xml.element("initializationStatusDetails", |xml| {
            xml.text("initializationType", kind);
            xml.number("progress", if shown.is_creating() { 0 } else { 100 });
            if !shown.is_creating() {
                xml.number("estimatedTimeToCompleteInSeconds", 0);
            }
        });
    }
    volume_view::write_operator(xml);
}
