//! Attachments: who uses a volume and how it is reached.
//!
//! A connector with `"xensm"` in its `"protocols"` list, or with a `"host_uuid"`, is a Xen host and gets the `xensm`
//! connection info; any other consumer gets `nbd` (unix socket when it is on the same machine).
//!
//! One claims a volume ([`create`]), connects it ([`connect`]), says that it is used ([`complete`]) and ends it ([`delete`]).

mod connect;
mod create;
mod end;
mod guard;
mod read;
mod work;

pub use connect::{Consumer, complete, complete_for, connect};
pub use create::{CreateAttachment, create};
pub(super) use end::let_go;
pub use end::{delete, force_detach};
pub use guard::check_end;
pub use read::{AttachmentQuery, AttachmentSortKey, get, list, of_volumes};
pub use work::WAIT;
