//! The first unit of a connection: who comes, and for what.

use super::pdu::{Pdu, opcode};

/// What an initiator says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introduction {
    /// Its name.
    pub initiator: String,
    /// The target that it wants; none for discovery.
    pub target: Option<String>,
}

/// Why it is not let in: class and detail of a login response (RFC 7143, 11.13.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It may not.
    Forbidden,
    /// There is no such target.
    NotFound,
    /// Something is missing in what it said.
    Missing,
    /// The service is off.
    Unavailable,
}

impl Introduction {
    /// Reads the first unit.
    pub fn of(login: &Pdu) -> Result<Self, Refusal> {
        if login.opcode() != opcode::LOGIN {
            return Err(Refusal::Missing);
        }
        let text = login.text();
        let value = |key: &str| {
            text.iter()
                .find(|(name, _)| name == key)
                .map(|(_, value)| value.clone())
        };
        let initiator = value("InitiatorName").ok_or(Refusal::Missing)?;
        let target = match value("SessionType").as_deref() {
            Some("Discovery") => None,
            _ => Some(value("TargetName").ok_or(Refusal::Missing)?),
        };
        Ok(Introduction { initiator, target })
    }
}

impl Refusal {
    /// The answer to a login.
    pub fn answer(self, login: &Pdu) -> Pdu {
        let mut answer = Pdu::new(opcode::LOGIN_RESPONSE);
        answer.header[8..14].copy_from_slice(&login.header[8..14]);
        answer.header[16..20].copy_from_slice(&login.header[16..20]);
        let (class, detail) = match self {
            Refusal::Forbidden => (2, 2),
            Refusal::NotFound => (2, 3),
            Refusal::Missing => (2, 7),
            Refusal::Unavailable => (3, 1),
        };
        answer.header[36] = class;
        answer.header[37] = detail;
        answer
    }
}

/// Has a login go to the target that tgt knows, and without digests: what goes by is changed on the way.
pub fn redirect(login: &mut Pdu, target: &str) {
    let mut text = login.text();
    for (key, value) in &mut text {
        match key.as_str() {
            "TargetName" => target.clone_into(value),
            "HeaderDigest" | "DataDigest" => "None".clone_into(value),
            _ => {}
        }
    }
    if !text.is_empty() {
        login.set_text(&text);
    }
}

/// Whether an answer completes a login.
pub fn completes(answer: &Pdu) -> bool {
    let [flags, class] = [answer.header[1], answer.header[36]];
    answer.opcode() == opcode::LOGIN_RESPONSE && class == 0 && flags & 0x83 == 0x83
}
