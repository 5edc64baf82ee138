//! What goes by between an initiator and tgt, and what is changed on the way.
//!
//! tgt keeps LUN 0 for a controller, so LUN n of the array is LUN n + 1 of tgt. tgt's identification page has no NAA designator of
//! an array; it carries the id as text (`scsi_id`), of which the page of a real LUN is made.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};

use super::gate::Gate;
use super::login;
use super::pdu::{Pdu, decode_lun, encode_lun, opcode};

/// SCSI operation codes (SPC-4).
const REQUEST_SENSE: u8 = 0x03;
const INQUIRY: u8 = 0x12;
const REPORT_LUNS: u8 = 0xa0;
/// The device identification page.
const IDENTIFICATION: u8 = 0x83;
/// How an id begins that [`super::target`] gave to tgt.
const NAA_PREFIX: &str = "600a0980";

/// Fixed format sense data of a unit attention: the capacity data have changed (SPC-4, 06h 2Ah 09h).
const CAPACITY_CHANGED: [u8; 18] = [0x70, 0, 6, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x2a, 9, 0, 0, 0, 0];
/// The status of a command that is answered with sense data.
const CHECK_CONDITION: u8 = 2;

/// A session, as far as others must know of it.
#[derive(Debug)]
pub struct Connection {
    /// The SVM.
    pub svm: String,
    /// The initiator's name.
    pub initiator: String,
    /// The LUNs, by the array's numbers, that have grown since their last command.
    grown: Mutex<BTreeSet<u16>>,
}

impl Connection {
    /// A session in which nothing has grown.
    pub fn new(svm: &str, initiator: &str) -> Self {
        Connection {
            svm: svm.to_owned(),
            initiator: initiator.to_owned(),
            grown: Mutex::new(BTreeSet::new()),
        }
    }

    /// A LUN has grown: the next command to it says so.
    pub fn note_growth(&self, lun: u16) {
        let mut grown = self.grown.lock().unwrap_or_else(PoisonError::into_inner);
        grown.insert(lun);
    }

    fn take_growth(&self, lun: Option<u16>) -> bool {
        let mut grown = self.grown.lock().unwrap_or_else(PoisonError::into_inner);
        lun.is_some_and(|lun| grown.remove(&lun))
    }
}

/// Commands of a connection that are not answered yet.
#[derive(Debug, Default)]
pub struct UnderWay(Mutex<BTreeMap<[u8; 4], Rewrite>>);

/// What is changed in the data of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rewrite {
    Nothing,
    Identification,
    Luns,
    /// The answer becomes a unit attention.
    Growth,
}

impl UnderWay {
    fn begin(&self, task: [u8; 4], rewrite: Rewrite) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(task, rewrite);
    }

    fn rewrite(&self, task: [u8; 4]) -> Rewrite {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&task).copied().unwrap_or(Rewrite::Nothing)
    }

    fn end(&self, task: [u8; 4]) -> usize {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        usize::from(all.remove(&task).is_some())
    }

    /// Forgets all of them.
    pub fn abandon(&self) -> usize {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *all).len()
    }
}

/// Carries what the initiator says to tgt, until one of them hangs up.
pub fn to_target(
    mut from: TcpStream,
    mut to: TcpStream,
    target: &str,
    connection: &Connection,
    gate: &Gate,
    under_way: &Arc<UnderWay>,
) -> io::Result<()> {
    while let Some(mut pdu) = Pdu::read(&mut from)? {
        match pdu.opcode() {
            opcode::LOGIN => login::redirect(&mut pdu, target),
            opcode::COMMAND => {
                let rewrite = match *pdu.command() {
                    [INQUIRY, flags, IDENTIFICATION, ..] if flags & 1 == 1 => {
                        Rewrite::Identification
                    }
                    [REPORT_LUNS, ..] => Rewrite::Luns,
                    // These three never tell of a unit attention.
                    [INQUIRY | REQUEST_SENSE, ..] => Rewrite::Nothing,
                    _ if connection.take_growth(pdu.lun()) => Rewrite::Growth,
                    _ => Rewrite::Nothing,
                };
                shift_lun(&mut pdu, rewrite);
                gate.enter();
                under_way.begin(pdu.task(), rewrite);
            }
            opcode::TASK_MANAGEMENT => shift_lun(&mut pdu, Rewrite::Nothing),
            _ => {}
        }
        pdu.write(&mut to)?;
    }
    Ok(())
}

/// Carries what tgt says to the initiator, until one of them hangs up; tells when the login is complete.
pub fn to_initiator(
    mut from: TcpStream,
    mut to: TcpStream,
    gate: &Gate,
    under_way: &Arc<UnderWay>,
    mut logged_in: impl FnMut(),
) -> io::Result<()> {
    while let Some(mut pdu) = Pdu::read(&mut from)? {
        let mut is_answered = false;
        match pdu.opcode() {
            opcode::LOGIN_RESPONSE if login::completes(&pdu) => logged_in(),
            opcode::DATA_IN => {
                match under_way.rewrite(pdu.task()) {
                    Rewrite::Nothing | Rewrite::Growth => {}
                    Rewrite::Identification => identify(&mut pdu.data),
                    Rewrite::Luns => shift_list(&mut pdu.data),
                }
                // The S bit: the status comes with the data.
                is_answered = pdu.header[1] & 1 == 1;
            }
            opcode::RESPONSE => is_answered = true,
            _ => {}
        }
        if is_answered && under_way.rewrite(pdu.task()) == Rewrite::Growth {
            pdu = growth(&pdu);
        }
        if is_answered {
            gate.leave(under_way.end(pdu.task()));
        }
        pdu.write(&mut to)?;
    }
    to.flush()
}

/// Makes the last answer to a command a unit attention. What the command wrote is written; it is sent again.
fn growth(answer: &Pdu) -> Pdu {
    let mut attention = Pdu::new(opcode::RESPONSE);
    // Task tag and sequence numbers stand where they stood.
    attention.header[16..40].copy_from_slice(&answer.header[16..40]);
    attention.header[1] = 0x80;
    attention.header[3] = CHECK_CONDITION;
    attention.header[20..24].fill(0);
    attention.data = vec![0, 18];
    attention.data.extend_from_slice(&CAPACITY_CHANGED);
    attention
}

fn shift_lun(pdu: &mut Pdu, rewrite: Rewrite) {
    if rewrite == Rewrite::Luns {
        // Any LUN answers this one, and tgt's controller is always there.
        pdu.set_lun(0);
    } else if let Some(lun) = pdu.lun() {
        pdu.set_lun(lun + 1);
    }
}

/// Makes the list of tgt's LUNs the array's: without the controller, and each number one less.
fn shift_list(data: &mut [u8]) {
    let Some((header, list)) = data.split_at_mut_checked(8) else {
        return;
    };
    let luns: Vec<u16> = list
        .chunks_exact(8)
        .filter_map(decode_lun)
        .filter(|lun| *lun > 0)
        .collect();
    list.fill(0);
    for (place, lun) in list.chunks_exact_mut(8).zip(&luns) {
        place.copy_from_slice(&encode_lun(lun - 1));
    }
    let length = u32::try_from(luns.len() * 8).unwrap_or(0);
    header[..4].copy_from_slice(&length.to_be_bytes());
}

/// Makes the identification page of a LUN of the array: a T10 designator with the serial number, and the NAA one.
fn identify(page: &mut [u8]) {
    let Some(id) = id_in(page) else {
        return;
    };
    let naa: Vec<u8> = id
        .as_bytes()
        .chunks_exact(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    let Some(serial) = naa.get(4..16) else {
        return;
    };
    let t10 = format!("NETAPP   LUN {:<15}", String::from_utf8_lossy(serial));
    let mut designators = vec![0x02, 0x01, 0, 28];
    designators.extend_from_slice(&t10.as_bytes()[..28]);
    designators.extend_from_slice(&[0x01, 0x03, 0, 16]);
    designators.extend_from_slice(&naa[..16]);
    let Some(room) = page
        .get_mut(4..)
        .filter(|room| room.len() >= designators.len())
    else {
        return;
    };
    room.fill(0);
    room[..designators.len()].copy_from_slice(&designators);
    page[2] = 0;
    page[3] = u8::try_from(designators.len()).unwrap_or(0);
}

/// The id that tgt was given, as it stands in its T10 designator.
fn id_in(page: &[u8]) -> Option<String> {
    let text: String = page.iter().map(|byte| char::from(*byte)).collect();
    let start = text.find(NAA_PREFIX)?;
    let id = text.get(start..start + 32)?;
    id.chars()
        .all(|one| one.is_ascii_hexdigit())
        .then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_tgt_becomes_one_of_the_array() {
        let mut page = vec![0, 0x83, 0, 60, 2, 1, 0, 44];
        page.extend_from_slice(b"NETAPP  600a0980383042762b3030303030323a");
        page.resize(64, 0);
        identify(&mut page);
        assert_eq!(page[..8], [0, 0x83, 0, 52, 2, 1, 0, 28]);
        assert_eq!(&page[8..36], b"NETAPP   LUN 80Bv+000002:   ");
        let naa = [0x60, 0x0a, 0x09, 0x80, 0x38, 0x30, 0x42, 0x76, 0x2b];
        assert_eq!(page[36..40], [1, 3, 0, 16]);
        assert_eq!(page[40..49], naa);
    }

    #[test]
    fn the_first_command_after_growth_is_a_unit_attention() {
        let connection = Connection::new("svm1", "iqn.x");
        connection.note_growth(3);
        assert!(!connection.take_growth(Some(2)));
        assert!(connection.take_growth(Some(3)));
        assert!(!connection.take_growth(Some(3)));
        let mut data_in = Pdu::new(opcode::DATA_IN);
        for (at, byte) in data_in.header.iter_mut().enumerate().skip(16) {
            *byte = u8::try_from(at).unwrap();
        }
        let attention = growth(&data_in);
        assert_eq!(attention.opcode(), opcode::RESPONSE);
        assert_eq!(attention.task(), data_in.task());
        assert_eq!(attention.header[24..36], data_in.header[24..36]);
        assert_eq!(attention.header[3], CHECK_CONDITION);
        assert_eq!(attention.data[2..5], [0x70, 0, 6]);
    }

    #[test]
    fn the_controller_is_not_listed() {
        let mut list = vec![0, 0, 0, 24, 0, 0, 0, 0];
        for lun in [0, 1, 301] {
            list.extend_from_slice(&encode_lun(lun));
        }
        shift_list(&mut list);
        assert_eq!(list[..4], [0, 0, 0, 16]);
        assert_eq!(decode_lun(&list[8..16]), Some(0));
        assert_eq!(decode_lun(&list[16..24]), Some(300));
    }
}
