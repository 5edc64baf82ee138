//! Records as structs, with the fields that a volume service needs and the whole record beside them.

use crate::Value;
use crate::reference::{HostRef, PbdRef, SrRef, TaskRef, VbdRef, VdiRef, VmMetricsRef, VmRef};
use std::collections::BTreeMap;

/// A record that can be made from what `get_record` answers.
pub trait Record: Sized {
    /// The class.
    const CLASS: &'static str;

    /// Takes a record whose fields have their declared types; nothing when one has not, or when there is no uuid.
    ///
    /// A field that the record lacks gets the empty value of its type: a pool may be older than the field.
    fn from_fields(fields: BTreeMap<String, Value>) -> Option<Self>;
}

/// A type that a field can have.
trait FieldType: Sized {
    fn from_value(value: &Value) -> Option<Self>;
    fn missing() -> Self;
}

macro_rules! records {
    ($($(#[$doc:meta])* $name:ident = $class:literal {
        $($(#[$field_doc:meta])* $field:ident: $ty:ty = $wire:literal,)+
    })+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq)]
            pub struct $name {
                $($(#[$field_doc])* pub $field: $ty,)+
                /// The whole record.
                pub fields: BTreeMap<String, Value>,
            }

            impl Record for $name {
                const CLASS: &'static str = $class;

                fn from_fields(fields: BTreeMap<String, Value>) -> Option<Self> {
                    fields.get("uuid")?;
                    Some($name {
                        $($field: match fields.get($wire) {
                            Some(value) => FieldType::from_value(value)?,
                            None => FieldType::missing(),
                        },)+
                        fields,
                    })
                }
            }
        )+
    };
}

records! {
    /// The pool.
    PoolRecord = "pool" {
        /// The uuid.
        uuid: String = "uuid",
        /// The name.
        name_label: String = "name_label",
        /// The host that is the master.
        master: HostRef = "master",
        /// The SR for new VDIs when nobody says otherwise.
        default_sr: SrRef = "default_SR",
        /// Keys and texts of others.
        other_config: BTreeMap<String, String> = "other_config",
    }

    /// A host.
    HostRecord = "host" {
        /// The uuid.
        uuid: String = "uuid",
        /// The name.
        name_label: String = "name_label",
        /// The name on the network.
        hostname: String = "hostname",
        /// The address at which it serves XenAPI.
        address: String = "address",
        /// Whether it takes new work.
        enabled: bool = "enabled",
        /// Its connections to SRs.
        pbds: Vec<PbdRef> = "PBDs",
        /// The VM to which VDIs are plugged for the host itself.
        control_domain: VmRef = "control_domain",
        /// The major part of the version of the API.
        api_version_major: i64 = "API_version_major",
        /// The minor part of the version of the API.
        api_version_minor: i64 = "API_version_minor",
        /// The versions of its parts.
        software_version: BTreeMap<String, String> = "software_version",
        /// Keys and texts of others.
        other_config: BTreeMap<String, String> = "other_config",
    }

    /// A storage repository.
    SrRecord = "SR" {
        /// The uuid.
        uuid: String = "uuid",
        /// The name.
        name_label: String = "name_label",
        /// The description.
        name_description: String = "name_description",
        /// What can be done with it now; advisory.
        allowed_operations: Vec<String> = "allowed_operations",
        /// The VDIs on it.
        vdis: Vec<VdiRef> = "VDIs",
        /// Its connections to hosts.
        pbds: Vec<PbdRef> = "PBDs",
        /// The sum of the sizes of its VDIs, in bytes.
        virtual_allocation: i64 = "virtual_allocation",
        /// What is in use, in bytes; -1 before it was first attached.
        physical_utilisation: i64 = "physical_utilisation",
        /// How large it is, in bytes; -1 before it was first attached.
        physical_size: i64 = "physical_size",
        /// The type, in lower case.
        kind: String = "type",
        /// What it holds: `user`, `iso` or nothing.
        content_type: String = "content_type",
        /// Whether several hosts can use it at once.
        shared: bool = "shared",
        /// Keys and texts of others.
        other_config: BTreeMap<String, String> = "other_config",
        /// Keys and texts of the driver.
        sm_config: BTreeMap<String, String> = "sm_config",
    }

    /// A connection of a host to an SR.
    PbdRecord = "PBD" {
        /// The uuid.
        uuid: String = "uuid",
        /// The host.
        host: HostRef = "host",
        /// The SR.
        sr: SrRef = "SR",
        /// How the host reaches the SR's medium.
        device_config: BTreeMap<String, String> = "device_config",
        /// Whether it is plugged.
        currently_attached: bool = "currently_attached",
        /// Keys and texts of others.
        other_config: BTreeMap<String, String> = "other_config",
    }

    /// A virtual disk image.
    VdiRecord = "VDI" {
        /// The uuid.
        uuid: String = "uuid",
        /// The name.
        name_label: String = "name_label",
        /// The description.
        name_description: String = "name_description",
        /// What can be done with it now; advisory.
        allowed_operations: Vec<String> = "allowed_operations",
        /// The SR that holds it.
        sr: SrRef = "SR",
        /// Its attachments.
        vbds: Vec<VbdRef> = "VBDs",
        /// The size that a consumer sees, in bytes.
        virtual_size: i64 = "virtual_size",
        /// What it takes on the SR, in bytes.
        physical_utilisation: i64 = "physical_utilisation",
        /// What it is for.
        kind: String = "type",
        /// Whether several VMs may write it at once.
        sharable: bool = "sharable",
        /// Whether it may only be read.
        read_only: bool = "read_only",
        /// Keys and texts of others.
        other_config: BTreeMap<String, String> = "other_config",
        /// Where it lies in the SR.
        location: String = "location",
        /// Whether it is one that users see.
        managed: bool = "managed",
        /// Whether the last scan did not find it.
        missing: bool = "missing",
        /// Keys and texts of the driver.
        sm_config: BTreeMap<String, String> = "sm_config",
        /// Whether it is a snapshot.
        is_a_snapshot: bool = "is_a_snapshot",
        /// Of what it is a snapshot.
        snapshot_of: VdiRef = "snapshot_of",
        /// Its snapshots.
        snapshots: Vec<VdiRef> = "snapshots",
        /// When it was snapshotted, in seconds since 1970.
        snapshot_time: Seconds = "snapshot_time",
        /// Tags.
        tags: Vec<String> = "tags",
        /// Whether changed blocks are tracked.
        cbt_enabled: bool = "cbt_enabled",
    }

    /// An attachment of a VDI to a VM.
    VbdRecord = "VBD" {
        /// The uuid.
        uuid: String = "uuid",
        /// The VM.
        vm: VmRef = "VM",
        /// The VDI; null when the drive is empty.
        vdi: VdiRef = "VDI",
        /// The device, once plugged.
        device: String = "device",
        /// The position that was asked for.
        userdevice: String = "userdevice",
        /// `RO` or `RW`.
        mode: String = "mode",
        /// `Disk`, `CD` or `Floppy`.
        kind: String = "type",
        /// Whether the drive is empty.
        empty: bool = "empty",
        /// Whether it is plugged.
        currently_attached: bool = "currently_attached",
        /// Keys and texts of others.
        other_config: BTreeMap<String, String> = "other_config",
    }

    /// A virtual machine.
    VmRecord = "VM" {
        /// The uuid.
        uuid: String = "uuid",
        /// The name.
        name_label: String = "name_label",
        /// Whether it runs.
        power_state: String = "power_state",
        /// Whether it is a template, from which VMs are made.
        is_a_template: bool = "is_a_template",
        /// Whether it is a snapshot of a VM.
        is_a_snapshot: bool = "is_a_snapshot",
        /// The host on which it runs.
        resident_on: HostRef = "resident_on",
        /// The processors that it starts with.
        vcpus_at_startup: i64 = "VCPUs_at_startup",
        /// The most memory that it can have, in bytes.
        memory_static_max: i64 = "memory_static_max",
        /// What is measured of it.
        metrics: VmMetricsRef = "metrics",
        /// Whether it is the control domain of a host.
        is_control_domain: bool = "is_control_domain",
        /// Its attachments.
        vbds: Vec<VbdRef> = "VBDs",
        /// Keys and texts of others.
        other_config: BTreeMap<String, String> = "other_config",
    }

    /// What is measured of a VM.
    VmMetricsRecord = "VM_metrics" {
        /// The uuid.
        uuid: String = "uuid",
        /// When the VM was last started, in seconds since 1970.
        start_time: Seconds = "start_time",
    }

    /// A type of SR.
    SmRecord = "SM" {
        /// The uuid.
        uuid: String = "uuid",
        /// The name.
        name_label: String = "name_label",
        /// The type that `SR.create` takes.
        kind: String = "type",
        /// The version of the driver.
        version: String = "version",
        /// The keys of a device configuration, with what they mean.
        configuration: BTreeMap<String, String> = "configuration",
        /// What the driver can do.
        capabilities: Vec<String> = "capabilities",
    }

    /// A task.
    TaskRecord = "task" {
        /// The uuid.
        uuid: String = "uuid",
        /// The name.
        name_label: String = "name_label",
        /// `pending`, `success`, `failure`, `cancelling` or `cancelled`.
        status: String = "status",
        /// From 0 to 1.
        progress: f64 = "progress",
        /// The result in XML-RPC, once it succeeded.
        result: String = "result",
        /// The error description, once it failed.
        error_info: Vec<String> = "error_info",
        /// The task of which it is a part.
        subtask_of: TaskRef = "subtask_of",
        /// When it started, in seconds since 1970.
        created: Seconds = "created",
        /// When it ended, in seconds since 1970; 0 while it runs.
        finished: Seconds = "finished",
    }
}

/// A date, in seconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub i64);

impl FieldType for Seconds {
    fn from_value(value: &Value) -> Option<Self> {
        value.as_datetime().map(Seconds)
    }

    fn missing() -> Self {
        Seconds(0)
    }
}

impl FieldType for String {
    fn from_value(value: &Value) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }

    fn missing() -> Self {
        String::new()
    }
}

impl FieldType for i64 {
    fn from_value(value: &Value) -> Option<Self> {
        value.as_int()
    }

    fn missing() -> Self {
        0
    }
}

impl FieldType for f64 {
    fn from_value(value: &Value) -> Option<Self> {
        value.as_float()
    }

    fn missing() -> Self {
        0.0
    }
}

impl FieldType for bool {
    fn from_value(value: &Value) -> Option<Self> {
        value.as_bool()
    }

    fn missing() -> Self {
        false
    }
}

impl FieldType for BTreeMap<String, String> {
    fn from_value(value: &Value) -> Option<Self> {
        let members = value.as_struct()?.iter();
        members
            .map(|(name, member)| Some((name.clone(), member.as_str()?.to_owned())))
            .collect()
    }

    fn missing() -> Self {
        BTreeMap::new()
    }
}

impl<T: FieldType> FieldType for Vec<T> {
    fn from_value(value: &Value) -> Option<Self> {
        value.as_array()?.iter().map(T::from_value).collect()
    }

    fn missing() -> Self {
        Vec::new()
    }
}

macro_rules! references {
    ($($name:ident)+) => {
        $(
            impl FieldType for $name {
                fn from_value(value: &Value) -> Option<Self> {
                    value.as_str().map($name::from)
                }

                fn missing() -> Self {
                    $name::null()
                }
            }
        )+
    };
}

references! { HostRef PbdRef SrRef TaskRef VbdRef VdiRef VmMetricsRef VmRef }
