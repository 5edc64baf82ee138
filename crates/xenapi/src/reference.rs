//! References to objects, one type for each class so that they are not confused.

use crate::{NULL_REF, Value};
use std::fmt;

macro_rules! references {
    ($($name:ident = $class:literal;)+) => {
        $(
            #[doc = concat!("A reference to an object of class `", $class, "`.")]
            #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub struct $name(String);

            impl $name {
                /// The reference that points at nothing.
                pub fn null() -> Self {
                    $name(NULL_REF.to_owned())
                }

                /// Tells whether the reference points at nothing.
                pub fn is_null(&self) -> bool {
                    self.0 == NULL_REF || self.0.is_empty()
                }

                /// The text of the reference.
                pub fn as_str(&self) -> &str {
                    &self.0
                }
            }

            impl From<String> for $name {
                fn from(text: String) -> Self {
                    $name(text)
                }
            }

            impl From<&str> for $name {
                fn from(text: &str) -> Self {
                    $name(text.to_owned())
                }
            }

            impl From<&$name> for Value {
                fn from(reference: &$name) -> Self {
                    Value::from(reference.0.as_str())
                }
            }

            impl From<$name> for Value {
                fn from(reference: $name) -> Self {
                    Value::String(reference.0)
                }
            }

            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str(&self.0)
                }
            }
        )+
    };
}

references! {
    HostRef = "host";
    PbdRef = "PBD";
    PoolRef = "pool";
    SecretRef = "secret";
    SmRef = "SM";
    SrRef = "SR";
    TaskRef = "task";
    VbdRef = "VBD";
    VdiRef = "VDI";
    VmMetricsRef = "VM_metrics";
    VmRef = "VM";
}
