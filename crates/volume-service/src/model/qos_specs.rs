//! QoS specs: named figures for the traffic of volumes, which flavors refer to.

use std::collections::BTreeMap;

use uuid::Uuid;

/// A set of figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QosSpecs {
    /// Its id.
    pub id: Uuid,
    /// Its name, unique.
    pub name: String,
    /// Who is to obey.
    pub consumer: Consumer,
    /// The figures.
    pub specs: BTreeMap<String, String>,
    /// Microseconds since 1970.
    pub created_at_us: i64,
}

/// Who is to obey QoS specs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumer {
    /// Whoever attaches the volume.
    FrontEnd,
    /// The pool that the volume is in.
    BackEnd,
    /// Both of them.
    Both,
}

impl Consumer {
    /// All of them.
    pub const ALL: [Consumer; 3] = [Consumer::FrontEnd, Consumer::BackEnd, Consumer::Both];

    /// The word that is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Consumer::FrontEnd => "front-end",
            Consumer::BackEnd => "back-end",
            Consumer::Both => "both",
        }
    }

    /// Parses the word.
    pub fn parse(text: &str) -> Option<Self> {
        Consumer::ALL
            .into_iter()
            .find(|consumer| consumer.as_str() == text)
    }

    /// True when whoever attaches the volume is to obey.
    pub fn is_front_end(self) -> bool {
        self != Consumer::BackEnd
    }

    /// True when the pool is to obey.
    pub fn is_back_end(self) -> bool {
        self != Consumer::FrontEnd
    }
}
