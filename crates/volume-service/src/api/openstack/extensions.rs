//! The parts of the API that began as extensions: clients look here for what is built.

use axum::Json;
use axum::extract::Path;
use axum::routing::on;
use serde_json::{Value, json};

use super::answers;
use super::caller::Caller;
use super::fault::Result;
use super::route::Route;
use super::schema::{Schema, closed, list_of, required};
use crate::error::{Error, ErrorKind, Subject};

pub(super) const ROUTES: &[Route] = &[
    Route::get("/extensions", |verb| on(verb, list)).answers(200, &EXTENSIONS),
    Route::get("/extensions/{alias}", |verb| on(verb, show)).answers(200, &EXTENSION),
];

const EXTENSIONS: Schema = closed(&[required("extensions", list_of(&answers::EXTENSION))]);
const EXTENSION: Schema = closed(&[required("extension", answers::EXTENSION)]);

/// Those that are built: name, alias, when Cinder last changed it, and what it is.
const BUILT: &[[&str; 4]] = &[
    [
        "AdminActions",
        "os-admin-actions",
        "2012-08-25T00:00:00+00:00",
        "What administrators do to volumes and snapshots.",
    ],
    [
        "AvailabilityZones",
        "os-availability-zone",
        "2013-06-27T00:00:00+00:00",
        "The zones that volumes are made in.",
    ],
    [
        "Capabilities",
        "capabilities",
        "2015-08-31T00:00:00+00:00",
        "What a backend can do.",
    ],
    [
        "Cgsnapshots",
        "cgsnapshots",
        "2014-08-18T00:00:00+00:00",
        "Snapshots of consistency groups.",
    ],
    [
        "Consistencygroups",
        "consistencygroups",
        "2014-08-18T00:00:00+00:00",
        "Groups of volumes, as they were before 3.13.",
    ],
    [
        "ExtendedServices",
        "os-extended-services",
        "2014-01-10T00:00:00-00:00",
        "Why a service is disabled.",
    ],
    [
        "ExtendedSnapshotAttributes",
        "os-extended-snapshot-attributes",
        "2012-06-19T00:00:00+00:00",
        "Progress and project of a snapshot.",
    ],
    [
        "Hosts",
        "os-hosts",
        "2011-06-29T00:00:00+00:00",
        "The hosts of this service.",
    ],
    [
        "Qos_specs_manage",
        "qos-specs",
        "2013-08-02T00:00:00+00:00",
        "QoS specs of volume types.",
    ],
    [
        "QuotaClasses",
        "os-quota-class-sets",
        "2012-03-12T00:00:00+00:00",
        "Quotas that projects have by default.",
    ],
    [
        "Quotas",
        "os-quota-sets",
        "2011-08-08T00:00:00+00:00",
        "Quotas of projects.",
    ],
    [
        "SchedulerHints",
        "OS-SCH-HNT",
        "2013-04-18T00:00:00+00:00",
        "Hints to the scheduler.",
    ],
    [
        "Scheduler_stats",
        "scheduler-stats",
        "2014-09-07T00:00:00+00:00",
        "Backends as scheduler pools.",
    ],
    [
        "Services",
        "os-services",
        "2012-10-28T00:00:00-00:00",
        "The processes of this service.",
    ],
    [
        "SnapshotActions",
        "os-snapshot-actions",
        "2013-07-16T00:00:00+00:00",
        "The status of a snapshot.",
    ],
    [
        "SnapshotManage",
        "os-snapshot-manage",
        "2014-12-31T00:00:00+00:00",
        "Adoption of snapshots.",
    ],
    [
        "SnapshotUnmanage",
        "os-snapshot-unmanage",
        "2014-12-31T00:00:00+00:00",
        "Letting go of snapshots.",
    ],
    [
        "TypesExtraSpecs",
        "os-types-extra-specs",
        "2011-08-24T00:00:00+00:00",
        "What a volume type asks of backends.",
    ],
    [
        "TypesManage",
        "os-types-manage",
        "2011-08-24T00:00:00+00:00",
        "Making and changing volume types.",
    ],
    [
        "UsedLimits",
        "os-used-limits",
        "2013-10-03T00:00:00+00:00",
        "How much of the limits is used.",
    ],
    [
        "VolumeActions",
        "os-volume-actions",
        "2012-05-31T00:00:00+00:00",
        "Attaching, extending and other actions of volumes.",
    ],
    [
        "VolumeEncryptionMetadata",
        "os-volume-encryption-metadata",
        "2013-07-10T00:00:00+00:00",
        "How a volume is encrypted.",
    ],
    [
        "VolumeHostAttribute",
        "os-vol-host-attr",
        "2011-11-03T00:00:00+00:00",
        "The host of a volume.",
    ],
    [
        "VolumeImageMetadata",
        "os-vol-image-meta",
        "2012-12-07T00:00:00+00:00",
        "What the image of a volume was.",
    ],
    [
        "VolumeManage",
        "os-volume-manage",
        "2014-02-10T00:00:00+00:00",
        "Adoption of volumes.",
    ],
    [
        "VolumeMigStatusAttribute",
        "os-vol-mig-status-attr",
        "2013-08-08T00:00:00+00:00",
        "Whether a volume is being moved.",
    ],
    [
        "VolumeTenantAttribute",
        "os-vol-tenant-attr",
        "2011-11-03T00:00:00+00:00",
        "The project of a volume.",
    ],
    [
        "VolumeTransfer",
        "os-volume-transfer",
        "2013-05-29T00:00:00+00:00",
        "Giving volumes to other projects.",
    ],
    [
        "VolumeTypeAccess",
        "os-volume-type-access",
        "2014-06-26T00:00:00Z",
        "Volume types that some projects have.",
    ],
    [
        "VolumeTypeEncryption",
        "encryption",
        "2013-07-01T00:00:00+00:00",
        "Encryption of volume types.",
    ],
    [
        "VolumeUnmanage",
        "os-volume-unmanage",
        "2012-05-31T00:00:00+00:00",
        "Letting go of volumes.",
    ],
];

fn view([name, alias, updated, description]: &[&str; 4]) -> Value {
    json!({
        "name": name,
        "alias": alias,
        "description": description,
        "updated": updated,
        "links": [],
    })
}

/// `GET /extensions`
async fn list(_caller: Caller) -> Result<Json<Value>> {
    let views: Vec<_> = BUILT.iter().map(view).collect();
    Ok(Json(json!({ "extensions": views })))
}

/// `GET /extensions/{alias}`
async fn show(_caller: Caller, Path(wanted): Path<String>) -> Result<Json<Value>> {
    let found = BUILT.iter().find(|[_, alias, ..]| *alias == wanted);
    let found = found.ok_or_else(|| {
        let text = "The resource could not be found.";
        Error::new(ErrorKind::NotFound, Subject::Request, text).on(wanted)
    })?;
    Ok(Json(json!({ "extension": view(found) })))
}
