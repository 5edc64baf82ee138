//! How a request names a VDI that is to become a volume or snapshot.

use uuid::Uuid;

/// A VDI that was there before what is to be made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// `source-name`: its `name_label`, which must be the only one in its SR.
    Name(String),
    /// `source-id`: its uuid.
    Uuid(Uuid),
}
