//! Discovery sessions (RFC 7143, section 4.3 and appendix C): who asks is told the target and its portals.

use std::io::{self, Read, Write};

use super::login::Refusal;
use super::pdu::{Pdu, opcode};

/// Commands that an initiator may have under way.
const WINDOW: u32 = 32;
/// Units of one session.
const MOST_UNITS: usize = 100;

/// What an initiator is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The target's name.
    pub target: String,
    /// Address, port and group: `127.0.0.1:3260,1026`.
    pub portals: Vec<String>,
}

/// Answers a session from its first unit to its end.
pub fn serve(stream: &mut (impl Read + Write), login: Pdu, offer: &Offer) -> io::Result<()> {
    let mut status = 1_u32;
    let mut next = Some(login);
    for _ in 0..MOST_UNITS {
        let Some(request) = next else {
            return Ok(());
        };
        let is_last = request.opcode() == opcode::LOGOUT;
        let mut answer = match request.opcode() {
            opcode::LOGIN => match log_in(&request) {
                Ok(answer) => answer,
                Err(refusal) => return refusal.answer(&request).write(stream),
            },
            opcode::TEXT => targets(&request, offer),
            opcode::LOGOUT => reply(opcode::LOGOUT_RESPONSE),
            opcode::NOP_OUT => {
                let mut answer = reply(opcode::NOP_IN);
                answer.header[20..24].fill(0xff);
                answer.data.clone_from(&request.data);
                answer
            }
            _ => return Ok(()),
        };
        number(&mut answer, &request, status);
        answer.write(stream)?;
        if is_last {
            return Ok(());
        }
        status = status.wrapping_add(1);
        next = Pdu::read(stream)?;
    }
    Ok(())
}

fn reply(opcode: u8) -> Pdu {
    let mut pdu = Pdu::new(opcode);
    pdu.header[1] = 0x80;
    pdu
}

/// Task tag and sequence numbers: a command that is not immediate uses one up.
fn number(answer: &mut Pdu, request: &Pdu, status: u32) {
    let sent = [24, 25, 26, 27].map(|at| request.header[at]);
    let is_immediate = request.header[0] & 0x40 != 0;
    let expected = u32::from_be_bytes(sent).wrapping_add(u32::from(!is_immediate));
    answer.header[16..20].copy_from_slice(&request.header[16..20]);
    answer.header[24..28].copy_from_slice(&status.to_be_bytes());
    answer.header[28..32].copy_from_slice(&expected.to_be_bytes());
    answer.header[32..36].copy_from_slice(&expected.wrapping_add(WINDOW).to_be_bytes());
}

fn log_in(request: &Pdu) -> Result<Pdu, Refusal> {
    let mut answer = Pdu::new(opcode::LOGIN_RESPONSE);
    // The stage, and whether the next one begins, are as the initiator says.
    answer.header[1] = request.header[1] & 0x8f;
    answer.header[8..14].copy_from_slice(&request.header[8..14]);
    if request.header[1] & 0x83 == 0x83 {
        // The session gets its number when the last stage begins.
        answer.header[15] = 1;
    }
    let mut chosen = Vec::new();
    for (key, value) in request.text() {
        let choice = match key.as_str() {
            "InitiatorName"
            | "InitiatorAlias"
            | "SessionType"
            | "TargetName"
            | "MaxRecvDataSegmentLength" => continue,
            "AuthMethod" if value.split(',').any(|method| method == "None") => "None".to_owned(),
            "AuthMethod" => return Err(Refusal::Forbidden),
            "HeaderDigest" | "DataDigest" => "None".to_owned(),
            "ErrorRecoveryLevel" => "0".to_owned(),
            _ => value,
        };
        chosen.push((key, choice));
    }
    answer.set_text(&chosen);
    Ok(answer)
}

fn targets(request: &Pdu, offer: &Offer) -> Pdu {
    let mut answer = reply(opcode::TEXT_RESPONSE);
    answer.header[20..24].fill(0xff);
    let asked = request.text();
    let wanted = asked
        .iter()
        .find(|(key, _)| key == "SendTargets")
        .map(|(_, value)| value.as_str());
    if wanted.is_some_and(|wanted| wanted == "All" || wanted.is_empty() || wanted == offer.target) {
        let mut text = vec![("TargetName".to_owned(), offer.target.clone())];
        text.extend(
            offer
                .portals
                .iter()
                .map(|portal| ("TargetAddress".to_owned(), portal.clone())),
        );
        answer.set_text(&text);
    }
    answer
}
