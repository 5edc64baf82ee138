//! As much of the protocol data units of iSCSI as a portal needs that sends everybody on. Source: RFC 7143, chapter 11.

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Length of the basic header segment.
const HEADER: usize = 48;
/// Longest data segment that is read; login and text requests hold a few keys. Source: RFC 7143, 6.1 (8192 before negotiation).
const LONGEST_DATA: usize = 8192;

/// Opcodes without the immediate bit. Source: RFC 7143, 11.2.1.2.
pub mod opcode {
    /// A NOP of the initiator.
    pub const NOP_OUT: u8 = 0x00;
    /// A login request.
    pub const LOGIN: u8 = 0x03;
    /// A text request.
    pub const TEXT: u8 = 0x04;
    /// A logout request.
    pub const LOGOUT: u8 = 0x06;
    /// A NOP of the target.
    pub const NOP_IN: u8 = 0x20;
    /// A login response.
    pub const LOGIN_RESPONSE: u8 = 0x23;
    /// A text response.
    pub const TEXT_RESPONSE: u8 = 0x24;
    /// A logout response.
    pub const LOGOUT_RESPONSE: u8 = 0x26;
}

/// What came from an initiator.
#[derive(Clone, Debug)]
pub struct Request {
    header: [u8; HEADER],
    data: Vec<u8>,
}

impl Request {
    /// Reads the next one; none when the connection ends or what comes is no request of a sane size.
    pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Request> {
        let mut header = [0; HEADER];
        stream.read_exact(&mut header).await.ok()?;
        let extra = usize::from(header[4]) * 4;
        let length = u32::from_be_bytes([0, header[5], header[6], header[7]]) as usize;
        if length > LONGEST_DATA {
            return None;
        }
        let mut data = vec![0; extra + length.next_multiple_of(4)];
        stream.read_exact(&mut data).await.ok()?;
        data.drain(..extra);
        data.truncate(length);
        Some(Request { header, data })
    }

    /// What it is.
    pub fn opcode(&self) -> u8 {
        self.header[0] & 0x3f
    }

    /// Byte 1: final, continue, stages.
    pub fn flags(&self) -> u8 {
        self.header[1]
    }

    /// The `key=value` pairs of its data.
    pub fn keys(&self) -> Vec<(String, String)> {
        let texts = self.data.split(|byte| *byte == 0);
        texts
            .filter_map(|text| {
                let text = String::from_utf8_lossy(text);
                let (key, value) = text.split_once('=')?;
                Some((key.to_owned(), value.to_owned()))
            })
            .collect()
    }

    /// Its data as it came.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    fn command_number(&self) -> u32 {
        u32::from_be_bytes([
            self.header[24],
            self.header[25],
            self.header[26],
            self.header[27],
        ])
    }

    /// The answer of this opcode, whose status number is `status_number`.
    pub fn answer(&self, opcode: u8, flags: u8, status_number: u32, data: &[u8]) -> Response {
        let mut header = [0; HEADER];
        header[0] = opcode;
        header[1] = flags;
        let length = (data.len() as u32).to_be_bytes();
        header[5..8].copy_from_slice(&length[1..]);
        // LUN or ISID and TSIH, and the initiator task tag, are the request's.
        header[8..20].copy_from_slice(&self.header[8..20]);
        header[24..28].copy_from_slice(&status_number.to_be_bytes());
        let immediate = self.header[0] & 0x40 != 0;
        let expected = self.command_number().wrapping_add(u32::from(!immediate));
        header[28..32].copy_from_slice(&expected.to_be_bytes());
        header[32..36].copy_from_slice(&expected.wrapping_add(8).to_be_bytes());
        Response {
            header,
            data: data.to_vec(),
        }
    }
}

/// What goes to an initiator.
#[derive(Clone, Debug)]
pub struct Response {
    header: [u8; HEADER],
    data: Vec<u8>,
}

impl Response {
    /// Sets status class and detail of a login response. Source: RFC 7143, 11.13.5.
    pub fn with_status(mut self, class: u8, detail: u8) -> Self {
        (self.header[36], self.header[37]) = (class, detail);
        self
    }

    /// Sets the session's handle.
    pub fn with_session(mut self, handle: u16) -> Self {
        self.header[14..16].copy_from_slice(&handle.to_be_bytes());
        self
    }

    /// Sets the target transfer tag to the reserved value.
    pub fn without_tag(mut self) -> Self {
        self.header[8..16].fill(0);
        self.header[20..24].fill(0xff);
        self
    }

    /// The bytes, padded.
    pub fn into_bytes(self) -> Vec<u8> {
        let mut bytes = self.header.to_vec();
        bytes.extend(self.data);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }
}

/// The text of `key=value` pairs.
pub fn text(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in pairs {
        bytes.extend_from_slice(format!("{key}={value}\0").as_bytes());
    }
    bytes
}
