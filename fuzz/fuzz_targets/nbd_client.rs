//! Arbitrary bytes from a server: the handshake, and replies behind a handshake that succeeded.
//!
//! If the first byte is odd, an honest handshake comes in front of the rest.
#![no_main]

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use nbd::Client;
use nbd::client::{ClientOptions, ZeroMode};
use nbd::protocol::constants::{BASE_ALLOCATION, option, option_reply};
use nbd::protocol::{Info, MetaContext, OptionReplyHeader, ServerHello};

/// What fits into a socket before the client reads.
const MAX_INPUT: usize = 64 * 1024;
/// All transmission flags, so that the client tries everything.
const FLAGS: u16 = 0x01ed;

fn handshake() -> Vec<u8> {
    let mut out = ServerHello { flags: 3 }.to_bytes().to_vec();
    let mut append = |option, reply, data: &[u8]| {
        out.extend_from_slice(
            &OptionReplyHeader {
                option,
                reply,
                length: data.len() as u32,
            }
            .to_bytes(),
        );
        out.extend_from_slice(data);
    };
    append(option::STRUCTURED_REPLY, option_reply::ACK, &[]);
    let context = MetaContext {
        id: 1,
        name: BASE_ALLOCATION.to_owned(),
    };
    append(
        option::SET_META_CONTEXT,
        option_reply::META_CONTEXT,
        &context.to_bytes(),
    );
    append(option::SET_META_CONTEXT, option_reply::ACK, &[]);
    append(
        option::GO,
        option_reply::INFO,
        &Info::Export {
            size: 1 << 20,
            flags: FLAGS,
        }
        .to_bytes(),
    );
    append(option::GO, option_reply::ACK, &[]);
    out
}

fuzz_target!(|input: &[u8]| {
    let Some((first, rest)) = input.split_first() else {
        return;
    };
    let (mut ours, theirs) = UnixStream::pair().expect("a socket pair");
    let mut bytes = if first % 2 == 1 {
        handshake()
    } else {
        Vec::new()
    };
    bytes.extend_from_slice(&rest[..rest.len().min(MAX_INPUT)]);
    ours.write_all(&bytes)
        .expect("the input fits into the socket");
    ours.shutdown(Shutdown::Write).expect("the socket is whole");
    let options = ClientOptions {
        timeout: Duration::from_secs(5),
        ..ClientOptions::default()
    };
    let Ok(mut client) = Client::from_stream(theirs, "", &options) else {
        return;
    };
    let mut buffer = [0; 4096];
    let _ = client.read(&mut buffer, 0);
    let _ = client.block_status(0, 65_536);
    let _ = client.write(&buffer, 0);
    let _ = client.write_zeroes(0, 4096, ZeroMode::MayPunch);
    let _ = client.flush();
});
