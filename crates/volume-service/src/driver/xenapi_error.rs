//! From the XenAPI client's errors to what they mean to an operation.

use std::error::Error as _;

use xenapi::client::{Error, Outcome};

use super::error::{PoolError, Trouble};

/// Translates an error of the client.
pub(super) fn translate(call: &'static str, error: &Error) -> PoolError {
    let translated = PoolError::new(call, trouble_of(call, error), text(error));
    if error.outcome() == Outcome::Unknown {
        return translated.with_unknown_outcome();
    }
    translated
}

/// True when the pool says that the object does not exist.
pub(super) fn is_gone(error: &Error) -> bool {
    trouble(error) == Trouble::Gone
}

/// Plugging again does no harm: what an earlier plug has opened after its deadline is closed by the next. Of other calls nobody
/// knows whether they will have happened, so the caller looks, or another backend is tried.
fn trouble_of(call: &str, error: &Error) -> Trouble {
    match call {
        "VBD.plug" if error.is("SR_UNHEALTHY") => Trouble::Unreachable,
        _ => trouble(error),
    }
}

fn trouble(error: &Error) -> Trouble {
    match error {
        // The VM, the state that is needed, the state that it has.
        Error::Api { failure, .. }
            if failure.code == "VM_BAD_POWER_STATE"
                && failure
                    .params
                    .get(2)
                    .is_some_and(|state| state.eq_ignore_ascii_case("halted")) =>
        {
            Trouble::Halted
        }
        Error::Api { failure, .. } => of_code(&failure.code, error.is_retriable()),
        Error::Login { source, .. } => match source.failure() {
            Some(_) if !source.is_retriable() => Trouble::Forbidden,
            _ => Trouble::Unreachable,
        },
        Error::Fault { .. } | Error::Parameter { .. } => Trouble::Refused,
        _ => Trouble::Unreachable,
    }
}

/// # Source
/// XenAPI's storage-relevant error codes; 44 is the storage manager's "no space", 46 its "VDI not available", 109 its
/// "the snapshot chain is too long"; 470 is ours alone, for a snapshot that was not taken because others could not be taken at the
/// same moment.
fn of_code(code: &str, is_retriable: bool) -> Trouble {
    match code {
        "UUID_INVALID" | "HANDLE_INVALID" | "VDI_MISSING" => Trouble::Gone,
        "VDI_IN_USE"
        | "VDI_NOT_AVAILABLE"
        | "DEVICE_DETACH_REJECTED"
        | "SR_BACKEND_FAILURE_24"
        | "SR_BACKEND_FAILURE_46" => Trouble::InUse,
        "SR_HAS_NO_PBDS" | "SR_NOT_ATTACHED" => Trouble::NotPlugged,
        "VM_BAD_POWER_STATE" => Trouble::NotRunning,
        "DEVICE_ALREADY_EXISTS" => Trouble::DeviceTaken,
        "VM_REQUIRES_SR" => Trouble::OutOfReach,
        "VM_MISSING_PV_DRIVERS" => Trouble::NoDrivers,
        "SR_BACKEND_FAILURE_109" => Trouble::TooDeep,
        "SR_BACKEND_FAILURE_470" => Trouble::Busy,
        "SR_FULL" | "SR_BACKEND_FAILURE_44" => Trouble::Full,
        "SR_UNKNOWN_DRIVER" => Trouble::UnknownType,
        "SR_OPERATION_NOT_SUPPORTED"
        | "UNIMPLEMENTED_IN_SM_BACKEND"
        | "NOT_IMPLEMENTED"
        | "MESSAGE_METHOD_UNKNOWN" => Trouble::Unsupported,
        "SESSION_AUTHENTICATION_FAILED" | "RBAC_PERMISSION_DENIED" | "PERMISSION_DENIED" => {
            Trouble::Forbidden
        }
        "HOST_OFFLINE" | "CANNOT_CONTACT_HOST" | "HOST_IS_SLAVE" | "SESSION_INVALID" => {
            Trouble::Unreachable
        }
        _ if is_retriable => Trouble::Busy,
        _ => Trouble::Refused,
    }
}

/// The error and its causes, without the name of the call, which is told beside it.
fn text(error: &Error) -> String {
    let mut text = match error {
        Error::Api { failure, .. } => failure.to_string(),
        other => other.to_string(),
    };
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use xenapi::Failure;

    use super::*;

    #[test]
    fn codes_mean_what_the_reference_says() {
        for (code, expected) in [
            ("VDI_IN_USE", Trouble::InUse),
            ("SR_FULL", Trouble::Full),
            ("SR_HAS_NO_PBDS", Trouble::NotPlugged),
            ("SR_UNKNOWN_DRIVER", Trouble::UnknownType),
            ("HANDLE_INVALID", Trouble::Gone),
            ("OTHER_OPERATION_IN_PROGRESS", Trouble::Busy),
            ("SR_BACKEND_FAILURE_73", Trouble::Refused),
            ("SR_BACKEND_FAILURE_109", Trouble::TooDeep),
            ("SR_BACKEND_FAILURE_470", Trouble::Busy),
            ("VM_BAD_POWER_STATE", Trouble::NotRunning),
            ("DEVICE_ALREADY_EXISTS", Trouble::DeviceTaken),
            ("SESSION_AUTHENTICATION_FAILED", Trouble::Forbidden),
        ] {
            let error = Error::Api {
                method: "VDI.create".to_owned(),
                failure: Failure::new(code, ["x"]),
            };
            let translated = translate("VDI.create", &error);
            assert_eq!(translated.trouble, expected, "{code}");
            assert!(!translated.outcome_unknown);
            assert_eq!(translated.text, format!("{code}(x)"));
        }
    }

    #[test]
    fn a_plug_of_an_sr_that_does_not_answer_is_tried_again() {
        let error = Error::Api {
            method: "VBD.plug".to_owned(),
            failure: Failure::new("SR_UNHEALTHY", ["x", "no answer", "look at it"]),
        };
        let plugged = translate("VBD.plug", &error);
        assert_eq!(plugged.trouble, Trouble::Unreachable);
        assert!(!plugged.outcome_unknown);
        assert!(plugged.on_zone("nova").is_retriable());
        let created = translate("VDI.create", &error);
        assert!(
            !created.on_zone("nova").is_retriable(),
            "another backend is"
        );
    }
}
