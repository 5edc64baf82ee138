//! Options, byte by byte.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;

use nbd::Error;
use nbd::client::{self, ClientOptions};
use nbd::protocol::constants::{option, option_reply, transmission_flag};
use nbd::protocol::{
    ClientHello, ExportReply, ExportRequest, Info, MetaContextRequest, OptionHeader,
    OptionReplyHeader, ServerHello,
};

use crate::fixture::{Fixture, SIZE};

/// Reads the greeting and answers with `flags`.
pub fn greet(stream: &mut UnixStream, flags: u32) {
    let mut hello = [0; ServerHello::LENGTH];
    stream.read_exact(&mut hello).unwrap();
    assert_eq!(ServerHello::parse(&hello).unwrap().flags, 3);
    stream.write_all(&ClientHello { flags }.to_bytes()).unwrap();
}

pub fn send_option(stream: &mut UnixStream, code: u32, data: &[u8]) {
    let header = OptionHeader {
        option: code,
        length: data.len() as u32,
    };
    stream
        .write_all(&[&header.to_bytes(), data].concat())
        .unwrap();
}

fn read_reply(stream: &mut UnixStream) -> (OptionReplyHeader, Vec<u8>) {
    let mut head = [0; OptionReplyHeader::LENGTH];
    stream.read_exact(&mut head).unwrap();
    let header = OptionReplyHeader::parse(&head).unwrap();
    let mut data = vec![0; header.length as usize];
    stream.read_exact(&mut data).unwrap();
    (header, data)
}

/// Sends an option and gives the kinds of its replies up to the final one.
fn replies(stream: &mut UnixStream, code: u32, data: &[u8]) -> Vec<u32> {
    send_option(stream, code, data);
    let mut kinds = Vec::new();
    loop {
        let (header, _) = read_reply(stream);
        assert_eq!(header.option, code);
        kinds.push(header.reply);
        if header.reply == option_reply::ACK || header.reply & option_reply::ERROR_BIT != 0 {
            return kinds;
        }
    }
}

fn is_closed(stream: &mut UnixStream) -> bool {
    matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_))
}

#[test]
fn options_get_the_replies_of_the_document() {
    let fixture = Fixture::new();
    let mut stream = fixture.raw();
    greet(&mut stream, 3);
    let go = |name: &str, info: Vec<u16>| {
        ExportRequest {
            name: name.to_owned(),
            info,
        }
        .to_bytes()
    };
    let meta = |queries: &[&str]| {
        let queries = queries.iter().map(|&query| query.to_owned()).collect();
        MetaContextRequest {
            name: "disk".to_owned(),
            queries,
        }
        .to_bytes()
    };
    use option_reply::*;
    let cases: &[(u32, Vec<u8>, &[u32])] = &[
        (4, vec![], &[ERR_UNSUP]),
        (4711, vec![1, 2, 3], &[ERR_UNSUP]),
        (option::STARTTLS, vec![], &[ERR_UNSUP]),
        (option::LIST, vec![], &[ERR_POLICY]),
        (option::LIST, vec![0], &[ERR_INVALID]),
        (option::INFO, go("nothing", vec![]), &[ERR_UNKNOWN]),
        (option::INFO, go("forbidden", vec![]), &[ERR_POLICY]),
        (option::INFO, go("disk", vec![]), &[INFO, ACK]),
        (option::INFO, go("disk", vec![3, 99]), &[INFO, INFO, ACK]),
        (option::INFO, vec![0, 0], &[ERR_INVALID]),
        (
            option::SET_META_CONTEXT,
            meta(&["base:allocation"]),
            &[ERR_INVALID],
        ),
        (option::STRUCTURED_REPLY, vec![1], &[ERR_INVALID]),
        (option::STRUCTURED_REPLY, vec![], &[ACK]),
        (option::LIST_META_CONTEXT, meta(&[]), &[META_CONTEXT, ACK]),
        (
            option::LIST_META_CONTEXT,
            meta(&["base:"]),
            &[META_CONTEXT, ACK],
        ),
        (option::LIST_META_CONTEXT, meta(&["qemu:"]), &[ACK]),
        (option::SET_META_CONTEXT, meta(&[]), &[ACK]),
        (option::SET_META_CONTEXT, meta(&["base:"]), &[ACK]),
        (
            option::SET_META_CONTEXT,
            meta(&["x-other:thing", "base:allocation"]),
            &[META_CONTEXT, ACK],
        ),
        (option::SET_META_CONTEXT, vec![1, 2], &[ERR_INVALID]),
        (4711, vec![0; 20_000], &[ERR_TOO_BIG]),
        (option::ABORT, vec![], &[ACK]),
    ];
    for (code, data, expected) in cases {
        assert_eq!(
            replies(&mut stream, *code, data),
            *expected,
            "option {code} with {} bytes",
            data.len()
        );
    }
    assert!(is_closed(&mut stream), "ABORT ends the session");
}

#[test]
fn info_tells_size_and_flags() {
    let fixture = Fixture::new();
    for (name, expected) in [
        (
            "disk",
            transmission_flag::SEND_TRIM | transmission_flag::SEND_WRITE_ZEROES,
        ),
        ("frozen", transmission_flag::READ_ONLY),
    ] {
        let mut stream = fixture.raw();
        greet(&mut stream, 3);
        send_option(
            &mut stream,
            option::INFO,
            &ExportRequest {
                name: name.to_owned(),
                info: vec![],
            }
            .to_bytes(),
        );
        let (_, data) = read_reply(&mut stream);
        let Info::Export { size, flags } = Info::parse(&data).unwrap() else {
            panic!("no NBD_INFO_EXPORT")
        };
        assert_eq!(size, SIZE);
        let always = transmission_flag::HAS_FLAGS
            | transmission_flag::SEND_FLUSH
            | transmission_flag::SEND_FUA
            | transmission_flag::CAN_MULTI_CONN
            | transmission_flag::SEND_CACHE;
        assert_eq!(flags, always | expected, "no DF before structured replies");
    }
}

#[test]
fn export_name_works_with_and_without_zeros() {
    let fixture = Fixture::new();
    for (flags, length) in [(1, ExportReply::PADDED_LENGTH), (3, ExportReply::LENGTH)] {
        let mut stream = fixture.raw();
        greet(&mut stream, flags);
        send_option(&mut stream, option::EXPORT_NAME, b"disk");
        let mut reply = vec![0; length];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(
            ExportReply::parse(&reply[..ExportReply::LENGTH])
                .unwrap()
                .size,
            SIZE
        );
        stream.set_nonblocking(true).unwrap();
        assert!(stream.read(&mut [0; 1]).is_err(), "nothing follows");
    }
    let mut stream = fixture.raw();
    greet(&mut stream, 3);
    send_option(&mut stream, option::EXPORT_NAME, b"nothing");
    assert!(is_closed(&mut stream), "EXPORT_NAME has no error reply");
}

#[test]
fn a_list_is_refused_unless_the_exports_allow_it() {
    let fixture = Fixture::new();
    let options = ClientOptions::default();
    let refused = client::list_unix(&fixture.socket(), &options);
    assert!(
        matches!(&refused, Err(Error::OptionRefused { reply: option_reply::ERR_POLICY, message, .. }) if message == "exports are not listed"),
        "{refused:?}"
    );
    fixture.catalogue.listed.store(true, Ordering::SeqCst);
    assert_eq!(
        client::list_unix(&fixture.socket(), &options).unwrap(),
        ["disk", "frozen"]
    );
}

#[test]
fn a_context_chosen_for_another_export_does_not_count() {
    let fixture = Fixture::new();
    let mut stream = fixture.raw();
    greet(&mut stream, 3);
    replies(&mut stream, option::STRUCTURED_REPLY, &[]);
    let queries = vec!["base:allocation".to_owned()];
    let meta = MetaContextRequest {
        name: "frozen".to_owned(),
        queries,
    }
    .to_bytes();
    assert_eq!(
        replies(&mut stream, option::SET_META_CONTEXT, &meta).len(),
        2
    );
    let go = ExportRequest {
        name: "disk".to_owned(),
        info: vec![],
    }
    .to_bytes();
    assert_eq!(
        replies(&mut stream, option::GO, &go),
        [option_reply::INFO, option_reply::ACK]
    );
    let request = nbd::protocol::Request {
        flags: 0,
        command: nbd::protocol::constants::command::BLOCK_STATUS,
        cookie: 1,
        offset: 0,
        length: 4096,
    };
    stream.write_all(&request.to_bytes()).unwrap();
    let mut head = [0; nbd::protocol::ChunkHeader::LENGTH];
    stream.read_exact(&mut head).unwrap();
    let chunk = nbd::protocol::ChunkHeader::parse(&head).unwrap();
    assert_eq!(chunk.kind, nbd::protocol::constants::chunk::ERROR);
}
