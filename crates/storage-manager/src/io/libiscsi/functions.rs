//! The functions and structures of libiscsi that are used, as its headers declare them.
//!
//! # Source
//! `iscsi/iscsi.h` and `iscsi/scsi-lowlevel.h` of libiscsi 1.19 (`libiscsi.so.7`); later versions up to 1.20 (`libiscsi.so.11`)
//! declare the same functions, and the structures begin alike.

use std::ffi::{c_char, c_int, c_uchar, c_uint, c_void};
use std::sync::OnceLock;

use libloading::Library as Shared;

/// The names under which the library is installed, the one that tests run with first.
const NAMES: [&str; 5] = [
    "libiscsi.so.7",
    "libiscsi.so.8",
    "libiscsi.so.9",
    "libiscsi.so.10",
    "libiscsi.so.11",
];

/// Largest command that a task takes. Source: `SCSI_CDB_MAX_SIZE`.
pub(super) const MAX_CDB: usize = 16;

/// `struct iscsi_context`, of which nothing is known.
#[repr(C)]
pub(super) struct RawContext {
    _opaque: [u8; 0],
}

/// How `struct scsi_task` begins; what follows is not looked at.
#[repr(C)]
pub(super) struct RawTask {
    pub status: c_int,
    pub cdb_size: c_int,
    pub xfer_dir: c_int,
    pub expxferlen: c_int,
    pub cdb: [c_uchar; MAX_CDB],
    pub residual_status: c_int,
    pub residual: usize,
    pub sense: RawSense,
}

/// How `struct scsi_sense` begins.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct RawSense {
    pub error_type: c_uchar,
    pub key: c_uint,
    pub ascq: c_int,
}

/// `struct scsi_iovec`.
#[repr(C)]
pub(super) struct RawIovec {
    pub base: *mut c_void,
    pub length: usize,
}

/// `struct iscsi_target_portal`.
#[repr(C)]
pub(super) struct RawPortal {
    pub next: *const RawPortal,
    pub portal: *const c_char,
}

/// `struct iscsi_discovery_address`.
#[repr(C)]
pub(super) struct RawDiscovered {
    pub next: *const RawDiscovered,
    pub target_name: *const c_char,
    pub portals: *const RawPortal,
}

/// `iscsi_command_cb`.
pub(super) type Callback = unsafe extern "C" fn(
    context: *mut RawContext,
    status: c_int,
    command_data: *mut c_void,
    private_data: *mut c_void,
);

/// Declares the table of functions and how it is filled, so that a name and its type stand in one place.
macro_rules! functions {
    ($($field:ident = $symbol:literal: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions, by name.
        pub(super) struct Functions {
            $(pub $field: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
            /// Absent before libiscsi 1.20.
            pub set_data_digest: Option<unsafe extern "C" fn(*mut RawContext, c_int) -> c_int>,
        }

        impl Functions {
            fn find(library: &Shared) -> Result<Self, libloading::Error> {
                Ok(Functions {
                    $($field: {
                        // SAFETY: the header declares the symbol with this type; the pointer is kept no longer than
                        // `library`, which is never unloaded.
                        *unsafe { library.get($symbol) }?
                    },)*
                    set_data_digest: {
                        // SAFETY: as above.
                        unsafe { library.get(b"iscsi_set_data_digest\0") }.ok().map(|found| *found)
                    },
                })
            }
        }
    };
}

functions! {
    create_context = b"iscsi_create_context\0": fn(*const c_char) -> *mut RawContext;
    destroy_context = b"iscsi_destroy_context\0": fn(*mut RawContext) -> c_int;
    set_targetname = b"iscsi_set_targetname\0": fn(*mut RawContext, *const c_char) -> c_int;
    set_session_type = b"iscsi_set_session_type\0": fn(*mut RawContext, c_int) -> c_int;
    set_header_digest = b"iscsi_set_header_digest\0": fn(*mut RawContext, c_int) -> c_int;
    set_initiator_credentials = b"iscsi_set_initiator_username_pwd\0": fn(*mut RawContext, *const c_char, *const c_char) -> c_int;
    set_target_credentials = b"iscsi_set_target_username_pwd\0": fn(*mut RawContext, *const c_char, *const c_char) -> c_int;
    set_isid_random = b"iscsi_set_isid_random\0": fn(*mut RawContext, u32, u32) -> c_int;
    set_no_auto_reconnect = b"iscsi_set_noautoreconnect\0": fn(*mut RawContext, c_int);
    connect = b"iscsi_connect_async\0": fn(*mut RawContext, *const c_char, Callback, *mut c_void) -> c_int;
    login = b"iscsi_login_async\0": fn(*mut RawContext, Callback, *mut c_void) -> c_int;
    logout = b"iscsi_logout_async\0": fn(*mut RawContext, Callback, *mut c_void) -> c_int;
    discover = b"iscsi_discovery_async\0": fn(*mut RawContext, Callback, *mut c_void) -> c_int;
    nop_out = b"iscsi_nop_out_async\0": fn(*mut RawContext, Callback, *mut c_uchar, c_int, *mut c_void) -> c_int;
    command = b"iscsi_scsi_command_async\0": fn(*mut RawContext, c_int, *mut RawTask, Callback, *mut c_void, *mut c_void) -> c_int;
    descriptor = b"iscsi_get_fd\0": fn(*mut RawContext) -> c_int;
    which_events = b"iscsi_which_events\0": fn(*mut RawContext) -> c_int;
    service = b"iscsi_service\0": fn(*mut RawContext, c_int) -> c_int;
    error = b"iscsi_get_error\0": fn(*mut RawContext) -> *const c_char;
    target_address = b"iscsi_get_target_address\0": fn(*mut RawContext) -> *const c_char;
    create_task = b"scsi_create_task\0": fn(c_int, *mut c_uchar, c_int, c_int) -> *mut RawTask;
    free_task = b"scsi_free_scsi_task\0": fn(*mut RawTask);
    set_iov_in = b"scsi_task_set_iov_in\0": fn(*mut RawTask, *mut RawIovec, c_int);
    set_iov_out = b"scsi_task_set_iov_out\0": fn(*mut RawTask, *mut RawIovec, c_int);
}

/// Why libiscsi cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is not there.
    #[error(
        "libiscsi is not installed ({reason}); install the package libiscsi7 (Debian, Ubuntu) or libiscsi (Fedora, RHEL) and try again"
    )]
    Missing {
        /// What the loader said of the first name.
        reason: String,
    },
    /// It lacks a function or lays its structures out otherwise.
    #[error("{name} cannot be used: {reason}; install libiscsi 1.19 or 1.20")]
    Foreign {
        /// The name under which it was found.
        name: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// libiscsi.
pub struct Library {
    pub(super) functions: Functions,
    /// Kept so that the functions stay where they are.
    _shared: Shared,
}

impl Library {
    /// Loads the library at the first call that finds it. It stays loaded.
    pub fn load() -> Result<&'static Library, LoadError> {
        static LOADED: OnceLock<Library> = OnceLock::new();
        if let Some(library) = LOADED.get() {
            return Ok(library);
        }
        let library = open()?;
        Ok(LOADED.get_or_init(|| library))
    }

    /// True when it can protect data by checksums, and not only headers.
    pub fn has_data_digests(&self) -> bool {
        self.functions.set_data_digest.is_some()
    }
}

fn open() -> Result<Library, LoadError> {
    let mut reason = None;
    for name in NAMES {
        // SAFETY: loading runs the library's initialisers; libiscsi has none of its own, and those of the libraries that it
        // needs (libc, and libgcrypt in some builds) may run at any time on any thread.
        match unsafe { Shared::new(name) } {
            Ok(shared) => return checked(name, shared),
            Err(error) => _ = reason.get_or_insert(error.to_string()),
        }
    }
    let reason = reason.unwrap_or_default();
    Err(LoadError::Missing { reason })
}

fn checked(name: &'static str, shared: Shared) -> Result<Library, LoadError> {
    let foreign = |reason: String| LoadError::Foreign { name, reason };
    let functions = Functions::find(&shared).map_err(|error| foreign(error.to_string()))?;
    if !task_is_as_declared(&functions) {
        return Err(foreign("its tasks are laid out otherwise".to_owned()));
    }
    Ok(Library {
        functions,
        _shared: shared,
    })
}

/// Makes a task and looks whether what was given to it lies where it is expected.
fn task_is_as_declared(functions: &Functions) -> bool {
    let mut cdb: [c_uchar; MAX_CDB] = std::array::from_fn(|index| 0xa0 + index as c_uchar);
    // SAFETY: the function copies as many bytes of the command as it is told, which are there.
    let task = unsafe { (functions.create_task)(MAX_CDB as c_int, cdb.as_mut_ptr(), 2, 0x1234) };
    if task.is_null() {
        return false;
    }
    // SAFETY: the task was made above. The fields that are read here end 32 bytes from its start; every version of the
    // library that has the function allocates several times that.
    let same = unsafe {
        (*task).cdb_size == MAX_CDB as c_int
            && (*task).xfer_dir == 2
            && (*task).expxferlen == 0x1234
            && (*task).cdb == cdb
    };
    // SAFETY: the task was made above and given to nobody.
    unsafe { (functions.free_task)(task) };
    same
}
