//! iSCSI protocol data units as they go by (RFC 7143, section 11), without digests.

use std::io::{self, Read, Write};

/// Bytes of a basic header segment.
const HEADER: usize = 48;
/// The most that a unit may carry.
const LONGEST_DATA: usize = 1 << 24;

/// What a unit is.
pub mod opcode {
    /// A ping of the initiator.
    pub const NOP_OUT: u8 = 0x00;
    /// A SCSI command.
    pub const COMMAND: u8 = 0x01;
    /// A task management request.
    pub const TASK_MANAGEMENT: u8 = 0x02;
    /// A login request.
    pub const LOGIN: u8 = 0x03;
    /// A text request.
    pub const TEXT: u8 = 0x04;
    /// A logout request.
    pub const LOGOUT: u8 = 0x06;
    /// The answer to a ping.
    pub const NOP_IN: u8 = 0x20;
    /// A SCSI response.
    pub const RESPONSE: u8 = 0x21;
    /// A login response.
    pub const LOGIN_RESPONSE: u8 = 0x23;
    /// A text response.
    pub const TEXT_RESPONSE: u8 = 0x24;
    /// Data that a command reads.
    pub const DATA_IN: u8 = 0x25;
    /// A logout response.
    pub const LOGOUT_RESPONSE: u8 = 0x26;
}

/// One unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pdu {
    /// The basic header segment. Its lengths are set when it is written.
    pub header: [u8; HEADER],
    /// The additional header segments.
    pub more: Vec<u8>,
    /// The data segment, without padding.
    pub data: Vec<u8>,
}

impl Pdu {
    /// A unit with nothing but its opcode.
    pub fn new(opcode: u8) -> Self {
        let mut header = [0; HEADER];
        header[0] = opcode;
        Pdu {
            header,
            more: Vec::new(),
            data: Vec::new(),
        }
    }

    /// Reads the next unit; none at the end of the stream.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut header = [0; HEADER];
        match from.read_exact(&mut header) {
            Ok(()) => {}
            Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(cause) => return Err(cause),
        }
        let mut more = vec![0; usize::from(header[4]) * 4];
        from.read_exact(&mut more)?;
        let length = u32::from_be_bytes([0, header[5], header[6], header[7]]) as usize;
        if length > LONGEST_DATA {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut data = vec![0; length.next_multiple_of(4)];
        from.read_exact(&mut data)?;
        data.truncate(length);
        Ok(Some(Pdu { header, more, data }))
    }

    /// Writes it.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut header = self.header;
        header[4] = u8::try_from(self.more.len() / 4).unwrap_or(0);
        let length = u32::try_from(self.data.len()).unwrap_or(0).to_be_bytes();
        header[5..8].copy_from_slice(&length[1..]);
        let padding = self.data.len().next_multiple_of(4) - self.data.len();
        let mut whole = Vec::with_capacity(HEADER + self.more.len() + self.data.len() + padding);
        whole.extend_from_slice(&header);
        whole.extend_from_slice(&self.more);
        whole.extend_from_slice(&self.data);
        whole.extend_from_slice(&[0; 3][..padding]);
        to.write_all(&whole)
    }

    /// What it is.
    pub fn opcode(&self) -> u8 {
        self.header[0] & 0x3f
    }

    /// The initiator task tag.
    pub fn task(&self) -> [u8; 4] {
        [
            self.header[16],
            self.header[17],
            self.header[18],
            self.header[19],
        ]
    }

    /// The command descriptor block of a SCSI command.
    pub fn command(&self) -> &[u8] {
        &self.header[32..48]
    }

    /// The number of the LUN that a command is for, by peripheral or flat addressing; none for other ways.
    pub fn lun(&self) -> Option<u16> {
        decode_lun(&self.header[8..16])
    }

    /// Sets the number of the LUN.
    pub fn set_lun(&mut self, lun: u16) {
        self.header[8..16].copy_from_slice(&encode_lun(lun));
    }

    /// The keys and values of a text.
    pub fn text(&self) -> Vec<(String, String)> {
        let pairs = self
            .data
            .split(|byte| *byte == 0)
            .filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| String::from_utf8_lossy(pair).into_owned());
        pairs
            .filter_map(|pair| {
                pair.split_once('=')
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
            })
            .collect()
    }

    /// Sets the keys and values of a text.
    pub fn set_text(&mut self, pairs: &[(String, String)]) {
        self.data = pairs
            .iter()
            .flat_map(|(key, value)| format!("{key}={value}\0").into_bytes())
            .collect();
    }
}

/// The number in eight bytes of a LUN.
pub fn decode_lun(bytes: &[u8]) -> Option<u16> {
    match bytes {
        [first, second, ..] if *first < 0x80 => {
            Some(u16::from(first & 0x3f) << 8 | u16::from(*second))
        }
        _ => None,
    }
}

/// Eight bytes of a LUN: by peripheral addressing up to 255, then flat.
pub fn encode_lun(lun: u16) -> [u8; 8] {
    let [high, low] = lun.to_be_bytes();
    let first = if high == 0 { 0 } else { 0x40 | high };
    [first, low, 0, 0, 0, 0, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_written_as_it_was_read() {
        let mut pdu = Pdu::new(opcode::LOGIN);
        pdu.set_text(&[
            ("InitiatorName".into(), "iqn.a".into()),
            ("X".into(), "1".into()),
        ]);
        pdu.set_lun(300);
        let mut bytes = Vec::new();
        pdu.write(&mut bytes).unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let read = Pdu::read(&mut bytes.as_slice()).unwrap().unwrap();
        assert_eq!(read.text(), pdu.text());
        assert_eq!(read.lun(), Some(300));
        assert_eq!(Pdu::read(&mut [].as_slice()).unwrap(), None);
    }
}
