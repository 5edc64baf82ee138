//! The record of who owns an SR.

use std::fmt::Write;
use std::time::Duration;

use uuid::Uuid;

use super::process::ProcessId;

/// Bytes of a record: one sector, so that no medium tears it.
pub const RECORD_LENGTH: usize = 512;

/// A record as it lies on the medium.
pub type RecordBytes = [u8; RECORD_LENGTH];

/// First line of a record.
const MAGIC: &str = "xensm-owner 1";

/// Longest text about the holder, in bytes.
const HOLDER_LIMIT: usize = 120;

/// Longest expiry that is believed.
const EXPIRY_LIMIT: Duration = Duration::from_secs(120);

/// What a record says of its owner's right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordState {
    /// Somebody wants to own the SR and waits whether another does too.
    Claimed,
    /// The SR is owned as long as the counter moves.
    Held,
    /// The owner has let go.
    Free,
}

impl RecordState {
    const ALL: [(RecordState, &'static str); 3] = [
        (RecordState::Claimed, "claimed"),
        (RecordState::Held, "held"),
        (RecordState::Free, "free"),
    ];

    fn name(self) -> &'static str {
        let mut all = Self::ALL.iter();
        all.find(|(state, _)| *state == self)
            .map_or("", |(_, name)| name)
    }
}

/// Who owns an SR.
///
/// # Layout
/// 512 bytes: lines of `key value` in ASCII, the first `xensm-owner 1`, the last `check` with the first 16 hexadecimal digits of
/// the SHA-256 of those before; the rest is zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerRecord {
    /// What of it is true now.
    pub state: RecordState,
    /// The owner: another one at each attach.
    pub owner: Uuid,
    /// Who that is, for people: host, process, SR.
    pub holder: String,
    /// Counts changes of the owner.
    pub generation: u64,
    /// Counts renewals.
    pub counter: u64,
    /// How long the counter may stand still before another takes over.
    pub expiry: Duration,
    /// The owner's process, for others on its machine.
    pub process: Option<ProcessId>,
}

impl OwnerRecord {
    /// The record as it lies on the medium.
    pub fn to_bytes(&self) -> RecordBytes {
        let holder: String = self
            .holder
            .chars()
            .filter(|c| matches!(c, ' '..='~'))
            .take(HOLDER_LIMIT)
            .collect();
        let mut text = format!(
            "{MAGIC}\nstate {}\nowner {}\nholder {holder}\ngeneration {}\ncounter {}\nexpiry_ms {}\n",
            self.state.name(),
            self.owner,
            self.generation,
            self.counter,
            self.expiry.as_millis()
        );
        if let Some(process) = &self.process {
            // Writing to a string does not fail.
            let _ = writeln!(text, "process {process}");
        }
        let sum = check_sum(&text);
        let _ = writeln!(text, "check {sum}");
        let mut bytes = [0; RECORD_LENGTH];
        // The longest texts of all keys together are below 450 bytes.
        let length = text.len().min(RECORD_LENGTH);
        bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
        bytes
    }

    /// Reads a record; none when it is not whole or nothing that we understand.
    pub fn parse(bytes: &RecordBytes) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == 0)?;
        let text = std::str::from_utf8(&bytes[..end]).ok()?;
        let (content, sum) = text.rsplit_once("check ")?;
        if check_sum(content) != sum.trim_end() || !content.starts_with(MAGIC) {
            return None;
        }
        let value = |key: &str| {
            let mut lines = content.lines();
            lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
        };
        let number = |key: &str| value(key)?.parse::<u64>().ok();
        let named = value("state")?;
        let (state, _) = RecordState::ALL.iter().find(|(_, name)| *name == named)?;
        Some(OwnerRecord {
            state: *state,
            owner: Uuid::try_parse(value("owner")?).ok()?,
            holder: value("holder")?.to_owned(),
            generation: number("generation")?,
            counter: number("counter")?,
            expiry: Duration::from_millis(number("expiry_ms")?).min(EXPIRY_LIMIT),
            process: value("process").and_then(ProcessId::parse),
        })
    }
}

fn check_sum(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let bytes = digest.as_ref().iter().take(8);
    bytes.fold(String::new(), |mut sum, byte| {
        // Writing to a string does not fail.
        let _ = write!(sum, "{byte:02x}");
        sum
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> OwnerRecord {
        OwnerRecord {
            state: RecordState::Held,
            owner: Uuid::from_u128(7),
            holder: "process 17 on xen-1 (SR 3)".to_owned(),
            generation: u64::MAX,
            counter: u64::MAX,
            expiry: Duration::from_secs(30),
            process: ProcessId::current(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let record = record();
        assert!(record.process.is_some());
        assert_eq!(OwnerRecord::parse(&record.to_bytes()), Some(record.clone()));
        let long = OwnerRecord {
            holder: "h\n\0".repeat(400),
            ..record
        };
        let read = OwnerRecord::parse(&long.to_bytes()).unwrap();
        assert_eq!(read.holder, "h".repeat(HOLDER_LIMIT));
    }

    #[test]
    fn a_torn_or_foreign_record_is_none() {
        let bytes = record().to_bytes();
        for at in 0..bytes.iter().position(|byte| *byte == 0).unwrap() - 1 {
            let mut torn = bytes;
            torn[at] ^= 1;
            assert_eq!(OwnerRecord::parse(&torn), None, "byte {at}");
        }
        assert_eq!(OwnerRecord::parse(&[0; RECORD_LENGTH]), None);
        assert_eq!(OwnerRecord::parse(&[0xff; RECORD_LENGTH]), None);
    }
}
