//! What a XenAPI call answers when it fails.

use std::fmt;

/// An error of the API: a code and its parameters, in the order that the code defines.
///
/// The codes are in [`code`]; where the order or the number of parameters matters there is a constructor.
/// Source: XenAPI `ErrorDescription`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The code, for example `VDI_IN_USE`.
    pub code: String,
    /// The parameters of the code.
    pub params: Vec<String>,
}

impl Failure {
    /// Makes a failure from its code and parameters.
    pub fn new<I, S>(code: &str, params: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        Failure {
            code: code.to_owned(),
            params: params.into_iter().map(Into::into).collect(),
        }
    }

    /// A failure of an SR's driver: `SR_BACKEND_FAILURE_<number>` with an empty first parameter, the message with its
    /// detail, and the document (probe XML) that the driver wrote.
    pub fn backend(number: u16, message: &str, detail: &str, document: &str) -> Self {
        let text = if detail.is_empty() {
            message.to_owned()
        } else {
            format!("{message} [opterr={detail}]")
        };
        Failure::new(
            &format!("SR_BACKEND_FAILURE_{number}"),
            ["".to_owned(), text, document.to_owned()],
        )
    }

    /// Tells whether the failure has the code.
    pub fn is(&self, code: &str) -> bool {
        self.code == code
    }

    /// The number of an `SR_BACKEND_FAILURE_<number>`.
    pub fn backend_number(&self) -> Option<u16> {
        self.code.strip_prefix("SR_BACKEND_FAILURE_")?.parse().ok()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The parameters of these are a credential.
        if self.code == code::SESSION_INVALID || self.code == code::SESSION_NOT_REGISTERED {
            return f.write_str(&self.code);
        }
        write!(f, "{}({})", self.code, self.params.join(", "))
    }
}

impl std::error::Error for Failure {}

macro_rules! codes {
    ($($name:ident)+) => {
        /// The codes that the storage part of XenAPI answers, each spelled as its constant.
        pub mod code {
            $(
                #[doc = concat!("`", stringify!($name), "`")]
                pub const $name: &str = stringify!($name);
            )+
        }
    };
}

codes! {
    CANNOT_CONTACT_HOST
    DB_UNIQUENESS_CONSTRAINT_VIOLATION
    DEVICE_ALREADY_ATTACHED
    DEVICE_ALREADY_DETACHED
    DEVICE_ALREADY_EXISTS
    DEVICE_ATTACH_TIMEOUT
    DEVICE_DETACH_REJECTED
    DEVICE_DETACH_TIMEOUT
    EVENTS_LOST
    EVENT_FROM_TOKEN_PARSE_FAILURE
    EVENT_SUBSCRIPTION_PARSE_FAILURE
    FIELD_TYPE_ERROR
    HANDLE_INVALID
    HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED
    HA_IS_ENABLED
    HOST_IS_SLAVE
    HOST_OFFLINE
    ILLEGAL_VBD_DEVICE
    IMPORT_ERROR_PREMATURE_EOF
    INTERNAL_ERROR
    INVALID_DEVICE
    INVALID_VALUE
    LOCATION_NOT_UNIQUE
    MAP_DUPLICATE_KEY
    MESSAGE_DEPRECATED
    MESSAGE_METHOD_UNKNOWN
    MESSAGE_PARAMETER_COUNT_MISMATCH
    MESSAGE_REMOVED
    NETWORK_INCOMPATIBLE_PURPOSES
    NOT_IMPLEMENTED
    OPERATION_BLOCKED
    OPERATION_NOT_ALLOWED
    OTHER_OPERATION_IN_PROGRESS
    PBD_EXISTS
    PERMISSION_DENIED
    RBAC_PERMISSION_DENIED
    SESSION_AUTHENTICATION_FAILED
    SESSION_AUTHORIZATION_FAILED
    SESSION_INVALID
    SESSION_NOT_REGISTERED
    SM_PLUGIN_COMMUNICATION_FAILURE
    SR_ATTACH_FAILED
    SR_BACKEND_FAILURE
    SR_DEVICE_IN_USE
    SR_DOES_NOT_SUPPORT_MIGRATION
    SR_FULL
    SR_HAS_MULTIPLE_PBDS
    SR_HAS_NO_PBDS
    SR_HAS_PBD
    SR_INDESTRUCTIBLE
    SR_IS_CACHE_SR
    SR_NOT_ATTACHED
    SR_NOT_EMPTY
    SR_NOT_SHARABLE
    SR_OPERATION_NOT_SUPPORTED
    SR_REQUIRES_UPGRADE
    SR_SOURCE_SPACE_INSUFFICIENT
    SR_UNHEALTHY
    SR_UNKNOWN_DRIVER
    SR_UUID_EXISTS
    SR_VDI_LOCKING_FAILED
    TASK_CANCELLED
    TOO_BUSY
    TOO_MANY_PENDING_TASKS
    UNIMPLEMENTED_IN_SM_BACKEND
    UUID_INVALID
    VALUE_NOT_SUPPORTED
    VBD_CDS_MUST_BE_READONLY
    VBD_IS_EMPTY
    VBD_NOT_EMPTY
    VBD_NOT_REMOVABLE_MEDIA
    VBD_NOT_UNPLUGGABLE
    VBD_TRAY_LOCKED
    VDI_CBT_ENABLED
    VDI_COPY_FAILED
    VDI_HAS_RRDS
    VDI_INCOMPATIBLE_TYPE
    VDI_IN_USE
    VDI_IO_ERROR
    VDI_IS_A_PHYSICAL_DEVICE
    VDI_IS_ENCRYPTED
    VDI_IS_NOT_ISO
    VDI_LOCATION_MISSING
    VDI_MISSING
    VDI_NEEDS_VM_FOR_MIGRATE
    VDI_NOT_AVAILABLE
    VDI_NOT_MANAGED
    VDI_NOT_SPARSE
    VDI_NO_CBT_METADATA
    VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION
    VDI_READONLY
    VDI_TOO_LARGE
    VDI_TOO_SMALL
    VM_BAD_POWER_STATE
    XENAPI_MISSING_PLUGIN
    XENAPI_PLUGIN_FAILURE
}

/// A code that a pool puts where a fault of the protocol is meant.
const FAULT: &str = "Fault";

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident($($param:ident),*) = $code:ident;)+) => {
        impl Failure {
            $(
                $(#[$doc])*
                pub fn $name($($param: &str),*) -> Self {
                    Failure::new(code::$code, [$($param.to_owned()),*] as [String; constructors!(@count $($param)*)])
                }
            )+
        }
    };
    (@count) => { 0 };
    (@count $first:ident $($rest:ident)*) => { 1 + constructors!(@count $($rest)*) };
}

constructors! {
    /// The VBD's device is plugged already.
    device_already_attached(vbd) = DEVICE_ALREADY_ATTACHED;
    /// The VBD's device is unplugged already.
    device_already_detached(vbd) = DEVICE_ALREADY_DETACHED;
    /// The VM has a VBD at that position.
    device_already_exists(userdevice) = DEVICE_ALREADY_EXISTS;
    /// The device refuses to go.
    device_detach_rejected(class, reference, message) = DEVICE_DETACH_REJECTED;
    /// The device did not go in time.
    device_detach_timeout(class, reference) = DEVICE_DETACH_TIMEOUT;
    /// The events between the last call and this one are lost: start over.
    events_lost() = EVENTS_LOST;
    /// The token is none of ours.
    event_from_token_parse_failure(token) = EVENT_FROM_TOKEN_PARSE_FAILURE;
    /// The subscription is neither `*`, nor a class, nor a class and a reference.
    event_subscription_parse_failure(subscription) = EVENT_SUBSCRIPTION_PARSE_FAILURE;
    /// No object has the reference.
    handle_invalid(class, reference) = HANDLE_INVALID;
    /// This host is not the master, which is at the address.
    host_is_slave(master_address) = HOST_IS_SLAVE;
    /// The device cannot be a VBD of the VM.
    illegal_vbd_device(vbd, device) = ILLEGAL_VBD_DEVICE;
    /// The server did something wrong, or was asked with a wrong type.
    internal_error(message) = INTERNAL_ERROR;
    /// The userdevice is no name of a device.
    invalid_device(userdevice) = INVALID_DEVICE;
    /// The value cannot be that of the field.
    invalid_value(field, value) = INVALID_VALUE;
    /// The SR has a VDI at that location.
    location_not_unique(sr, location) = LOCATION_NOT_UNIQUE;
    /// The map has the key already.
    map_duplicate_key(class, field, reference, key) = MAP_DUPLICATE_KEY;
    /// The message answers nothing any more.
    message_deprecated() = MESSAGE_DEPRECATED;
    /// There is no such message.
    message_method_unknown(method) = MESSAGE_METHOD_UNKNOWN;
    /// The message is gone.
    message_removed() = MESSAGE_REMOVED;
    /// The two purposes exclude each other.
    network_incompatible_purposes(new, present) = NETWORK_INCOMPATIBLE_PURPOSES;
    /// The server does not have this function.
    not_implemented(function) = NOT_IMPLEMENTED;
    /// The state of the object forbids the operation.
    operation_not_allowed(reason) = OPERATION_NOT_ALLOWED;
    /// Another operation has the object.
    other_operation_in_progress(class, object, operation, operation_reference) = OTHER_OPERATION_IN_PROGRESS;
    /// The host is connected to the SR already.
    pbd_exists(sr, host, pbd) = PBD_EXISTS;
    /// Only the storage manager itself may do this.
    permission_denied(message) = PERMISSION_DENIED;
    /// The user or the password is wrong.
    session_authentication_failed(user, message) = SESSION_AUTHENTICATION_FAILED;
    /// The user may not log in.
    session_authorization_failed(user, message) = SESSION_AUTHORIZATION_FAILED;
    /// The session is unknown, logged out or expired.
    session_invalid(session) = SESSION_INVALID;
    /// `event.next` without `event.register`.
    session_not_registered(session) = SESSION_NOT_REGISTERED;
    /// The SR cannot be attached.
    sr_attach_failed(sr) = SR_ATTACH_FAILED;
    /// The driver crashed.
    sr_backend_failure(status, stdout, stderr) = SR_BACKEND_FAILURE;
    /// The SR has not that much room.
    sr_full(requested, maximum) = SR_FULL;
    /// The host has no attached PBD of the SR.
    sr_has_no_pbds(sr) = SR_HAS_NO_PBDS;
    /// The SR is still connected.
    sr_has_pbd(sr) = SR_HAS_PBD;
    /// The SR may not be destroyed.
    sr_indestructible(sr) = SR_INDESTRUCTIBLE;
    /// The SR is not attached.
    sr_not_attached(sr) = SR_NOT_ATTACHED;
    /// The SR has VDIs.
    sr_not_empty() = SR_NOT_EMPTY;
    /// The SR is attached elsewhere and not shared.
    sr_not_sharable(sr, host) = SR_NOT_SHARABLE;
    /// The SR's type cannot do that.
    sr_operation_not_supported(sr) = SR_OPERATION_NOT_SUPPORTED;
    /// There is no such type of SR.
    sr_unknown_driver(driver) = SR_UNKNOWN_DRIVER;
    /// An SR of that uuid is known already.
    sr_uuid_exists(uuid) = SR_UUID_EXISTS;
    /// The task was cancelled.
    task_cancelled(task) = TASK_CANCELLED;
    /// Too many tasks wait.
    too_many_pending_tasks() = TOO_MANY_PENDING_TASKS;
    /// The SR's driver lacks the function.
    unimplemented_in_sm_backend(message) = UNIMPLEMENTED_IN_SM_BACKEND;
    /// No object has the uuid.
    uuid_invalid(class, uuid) = UUID_INVALID;
    /// The value is not supported for the field.
    value_not_supported(field, value, reason) = VALUE_NOT_SUPPORTED;
    /// A CD must be read-only.
    vbd_cds_must_be_readonly() = VBD_CDS_MUST_BE_READONLY;
    /// Only a CD drive can be empty.
    vbd_not_removable_media(vbd) = VBD_NOT_REMOVABLE_MEDIA;
    /// The VDI has changed block tracking enabled.
    vdi_cbt_enabled(vdi) = VDI_CBT_ENABLED;
    /// The copy failed.
    vdi_copy_failed() = VDI_COPY_FAILED;
    /// The type of the VDI forbids it.
    vdi_incompatible_type(vdi, vdi_type) = VDI_INCOMPATIBLE_TYPE;
    /// The VDI is attached or an operation has it.
    vdi_in_use(vdi, operation) = VDI_IN_USE;
    /// Reading or writing the VDI failed.
    vdi_io_error(device) = VDI_IO_ERROR;
    /// The VDI is a device and cannot be destroyed.
    vdi_is_a_physical_device(vdi) = VDI_IS_A_PHYSICAL_DEVICE;
    /// The VDI is not on the SR.
    vdi_missing(sr, vdi) = VDI_MISSING;
    /// The VDI is not at hand.
    vdi_not_available(vdi) = VDI_NOT_AVAILABLE;
    /// The VDI is internal to the SR.
    vdi_not_managed(vdi) = VDI_NOT_MANAGED;
    /// The VDI has no record of changed blocks.
    vdi_no_cbt_metadata(vdi) = VDI_NO_CBT_METADATA;
    /// The VDI is read-only.
    vdi_readonly(vdi) = VDI_READONLY;
    /// The VDI is larger than the maximum, in bytes.
    vdi_too_large(vdi, maximum) = VDI_TOO_LARGE;
    /// The VDI is smaller than the minimum, in bytes.
    vdi_too_small(vdi, minimum) = VDI_TOO_SMALL;
    /// The VM is in another power state.
    vm_bad_power_state(vm, expected, actual) = VM_BAD_POWER_STATE;
    /// The host has no such plug-in.
    xenapi_missing_plugin(name) = XENAPI_MISSING_PLUGIN;
    /// The plug-in failed.
    xenapi_plugin_failure(status, stdout, stderr) = XENAPI_PLUGIN_FAILURE;
}

impl Failure {
    /// The call has too few or too many parameters; both counts leave the session out.
    pub fn message_parameter_count_mismatch(method: &str, expected: usize, received: i64) -> Self {
        let params = [
            method.to_owned(),
            expected.to_string(),
            received.to_string(),
        ];
        Failure::new(code::MESSAGE_PARAMETER_COUNT_MISMATCH, params)
    }

    /// The message has no `Async.` form. A pool answers this as a failure whose code is `Fault`.
    pub fn no_async_mode(method: &str) -> Self {
        Failure::new(
            FAULT,
            [format!("No async mode for this operation (rpc: {method})")],
        )
    }

    /// A filter expression that cannot be read: `INVALID_VALUE [expression, reason]`.
    pub fn filter_invalid(expression: &str, reason: &str) -> Self {
        Failure::invalid_value(expression, reason)
    }

    /// A filter expression names a field that the class has not: `INTERNAL_ERROR ["missing field", name, ""]`.
    pub fn filter_field_missing(name: &str) -> Self {
        Failure::new(code::INTERNAL_ERROR, ["missing field", name, ""])
    }

    /// `PBD.unplug` while VDIs of the SR are in use: all their references.
    pub fn vdis_in_use<I, S>(vdis: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        Failure::new(code::VDI_IN_USE, vdis)
    }
}
