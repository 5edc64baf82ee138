//! The group's iSCSI portal: it tells the targets, and sends whoever logs in to one on to where its data is served.
//!
//! A real group does the same: initiators know the group's address only, and the login is answered by a redirection (status class 1) to
//! the member that has the volume. Like there, the access control records are looked at here; CHAP is up to the member, that is, istgt.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use super::array::{Array, NotAdmitted};
use super::pdu::{Request, Response, opcode, text};

/// The flag of a login that is to go to the next stage, and of a text that ends.
const FINAL: u8 = 0x80;
/// Stages in the flags of a login. Source: RFC 7143, 11.12.3.
const FULL_FEATURE: u8 = 3;
/// Longest data segment that the portal takes.
const SEGMENT: &str = "8192";
/// The handle of every session of the portal.
const SESSION: u16 = 1;

/// Serves connections until it is dropped.
pub async fn serve(listener: TcpListener, array: Arc<Array>) {
    let Ok(own) = listener.local_addr() else {
        return;
    };
    while let Ok((stream, from)) = listener.accept().await {
        tokio::spawn(connection(stream, own, from, Arc::clone(&array)));
    }
}

/// A login as far as it has come.
struct Login {
    initiator: String,
    target: Option<String>,
    discovery: bool,
    status_number: u32,
}

async fn connection(mut stream: TcpStream, own: SocketAddr, from: SocketAddr, array: Arc<Array>) {
    let from = match from.ip() {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    };
    let mut login = Login {
        initiator: String::new(),
        target: None,
        discovery: false,
        status_number: 0,
    };
    while let Some(request) = Request::read(&mut stream).await {
        let (response, last) = match request.opcode() {
            opcode::LOGIN => login.answer(&request, own, from, &array).await,
            opcode::TEXT => (login.targets(&request, own, from, &array), false),
            opcode::NOP_OUT => (
                request
                    .answer(opcode::NOP_IN, FINAL, login.next_number(), request.data())
                    .without_tag(),
                false,
            ),
            opcode::LOGOUT => (
                request.answer(opcode::LOGOUT_RESPONSE, FINAL, login.next_number(), &[]),
                true,
            ),
            _ => return,
        };
        if stream.write_all(&response.into_bytes()).await.is_err() || last {
            return;
        }
    }
}

impl Login {
    fn next_number(&mut self) -> u32 {
        self.status_number += 1;
        self.status_number - 1
    }

    /// Answers a login request, and whether it was the last.
    async fn answer(
        &mut self,
        request: &Request,
        own: SocketAddr,
        from: Ipv4Addr,
        array: &Arc<Array>,
    ) -> (Response, bool) {
        let keys = request.keys();
        for (key, value) in &keys {
            match key.as_str() {
                "InitiatorName" => self.initiator.clone_from(value),
                "TargetName" => self.target = Some(value.clone()),
                "SessionType" => self.discovery = value == "Discovery",
                _ => {}
            }
        }
        if self.discovery {
            return (self.negotiate(request, &keys), false);
        }
        let Some(target) = self.target.clone() else {
            // Missing parameter.
            return (self.refuse(request, 2, 7), true);
        };
        let (array, initiator) = (Arc::clone(array), self.initiator.clone());
        let admitted = tokio::task::spawn_blocking(move || array.admit(&target, &initiator, from));
        match admitted.await {
            Ok(Ok(port)) => {
                let address = format!("{}:{port},1", own.ip());
                let data = text(&[("TargetAddress", &address)]);
                let number = self.next_number();
                let response = request.answer(
                    opcode::LOGIN_RESPONSE,
                    request.flags() & 0x0c,
                    number,
                    &data,
                );
                // Target moved temporarily.
                (response.with_status(1, 1), true)
            }
            Ok(Err(NotAdmitted::NotFound)) => (self.refuse(request, 2, 3), true),
            Ok(Err(NotAdmitted::Forbidden)) => (self.refuse(request, 2, 2), true),
            Ok(Err(NotAdmitted::Unavailable)) | Err(_) => (self.refuse(request, 3, 1), true),
        }
    }

    fn refuse(&mut self, request: &Request, class: u8, detail: u8) -> Response {
        let number = self.next_number();
        let response = request.answer(opcode::LOGIN_RESPONSE, 0, number, &[]);
        response.with_status(class, detail)
    }

    /// Agrees to what a discovery session needs.
    fn negotiate(&mut self, request: &Request, keys: &[(String, String)]) -> Response {
        let mut agreed = Vec::new();
        for (key, _) in keys {
            match key.as_str() {
                "AuthMethod" | "HeaderDigest" | "DataDigest" => agreed.push((key.as_str(), "None")),
                "MaxRecvDataSegmentLength" => agreed.push((key.as_str(), SEGMENT)),
                "DefaultTime2Wait" => agreed.push((key.as_str(), "2")),
                "DefaultTime2Retain" | "ErrorRecoveryLevel" => agreed.push((key.as_str(), "0")),
                _ => {}
            }
        }
        let flags = request.flags() & 0x8f;
        let number = self.next_number();
        let response = request.answer(opcode::LOGIN_RESPONSE, flags, number, &text(&agreed));
        if flags & FINAL != 0 && flags & 3 == FULL_FEATURE {
            return response.with_session(SESSION);
        }
        response
    }

    /// Answers SendTargets.
    fn targets(
        &mut self,
        request: &Request,
        own: SocketAddr,
        from: Ipv4Addr,
        array: &Array,
    ) -> Response {
        let address = format!("{own},1");
        let wanted = request
            .keys()
            .into_iter()
            .find(|(key, _)| key == "SendTargets");
        let wanted = wanted.map(|(_, value)| value).unwrap_or_default();
        let mut data = Vec::new();
        for iqn in array.targets(&self.initiator, from) {
            if wanted == "All" || wanted == iqn {
                data.extend(text(&[("TargetName", &iqn), ("TargetAddress", &address)]));
            }
        }
        let number = self.next_number();
        request
            .answer(opcode::TEXT_RESPONSE, FINAL, number, &data)
            .without_tag()
    }
}
