//! Commands through our own client, and what must hold for several connections.

use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::Ordering;
use std::thread;

use nbd::client::ZeroMode;
use nbd::protocol::constants::{command, command_flag, option};
use nbd::protocol::{ErrorCode, ExportRequest, Request, SimpleReply};
use nbd::server::{Limits, MAX_REQUEST};
use nbd::{BlockStatus, Error, Extent};

use crate::fixture::{Fixture, SIZE, eventually, pattern};
use crate::handshake::{greet, send_option};

fn code<T>(result: Result<T, Error>) -> ErrorCode {
    match result {
        Err(Error::Refused { code, .. }) => code,
        Err(other) => panic!("expected an error reply, found {other}"),
        Ok(_) => panic!("expected an error reply, found success"),
    }
}

#[test]
fn what_is_written_is_read_at_every_size() {
    let fixture = Fixture::new();
    let mut client = fixture.client("disk");
    assert_eq!(client.size(), SIZE);
    for (index, length) in [1, 511, 4096, 65_537, 1 << 20, (1 << 20) + 3, 5 << 20]
        .into_iter()
        .enumerate()
    {
        let data = pattern(index as u8, length);
        let offset = index as u64 * 1001;
        client.write(&data, offset).unwrap();
        let mut back = vec![0; length];
        client.read(&mut back, offset).unwrap();
        assert!(back == data, "{length} bytes at {offset}");
    }
    client.disconnect().unwrap();
    eventually("the connection to end", || {
        fixture.server.connections().is_empty()
    });
}

#[test]
fn an_export_that_grows_serves_what_is_new_and_tells_new_clients() {
    let fixture = Fixture::new();
    let early = fixture.client("disk");
    fixture.disk.grow(1 << 20);
    assert_eq!(early.size(), SIZE, "the protocol has no word for it");
    let late = fixture.client("disk");
    assert_eq!(late.size(), SIZE + (1 << 20));
    // A client that has learnt of it in another way goes on with the connection that it has.
    let mut stream = fixture.raw();
    greet(&mut stream, 3);
    let go = ExportRequest {
        name: "disk".to_owned(),
        info: vec![],
    };
    send_option(&mut stream, option::GO, &go.to_bytes());
    stream.read_exact(&mut [0; 20 + 12 + 20]).unwrap();
    fixture.disk.grow(512);
    let mut write = |offset| {
        let request = Request {
            flags: 0,
            command: command::WRITE,
            cookie: 5,
            offset,
            length: 512,
        };
        stream.write_all(&request.to_bytes()).unwrap();
        stream.write_all(&[7; 512]).unwrap();
        let mut reply = [0; SimpleReply::LENGTH];
        stream.read_exact(&mut reply).unwrap();
        SimpleReply::parse(&reply).unwrap().error
    };
    assert_eq!(write(SIZE + (1 << 20)), None);
    assert_eq!(write(SIZE + (1 << 20) + 512), Some(ErrorCode::NoSpc));
}

#[test]
fn without_shared_memory_everything_still_works() {
    for buffer_bytes in [0, 80 * 1024] {
        let fixture = Fixture::with_limits(Limits {
            buffer_bytes,
            ..Limits::default()
        });
        std::thread::scope(|scope| {
            for number in 0..4u64 {
                let fixture = &fixture;
                scope.spawn(move || {
                    let mut client = fixture.client("disk");
                    let base = number * (2 << 20);
                    for length in [1, 4096, 65_537, 1 << 20, (1 << 20) + 3] {
                        let data = pattern(number as u8, length);
                        client.write_durably(&data, base).unwrap();
                        let mut back = vec![0; length];
                        client.read(&mut back, base).unwrap();
                        assert!(back == data, "{length} bytes with {buffer_bytes}");
                    }
                });
            }
        });
    }
}

#[test]
fn zeros_and_trims_change_the_status() {
    let fixture = Fixture::new();
    let mut client = fixture.client("disk");
    let kib = 1024;
    client.write(&pattern(1, 256 * 1024), 0).unwrap();
    let data = |length| Extent {
        length,
        status: BlockStatus::Data,
    };
    let hole = |length| Extent {
        length,
        status: BlockStatus::Hole,
    };
    assert_eq!(
        client.block_status(0, 512 * kib).unwrap(),
        [data(256 * kib), hole(256 * kib)]
    );

    client
        .write_zeroes(64 * kib, 64 * kib, ZeroMode::MayPunch)
        .unwrap();
    let expected = [data(64 * kib), hole(64 * kib), data(128 * kib)];
    assert_eq!(client.block_status(0, 256 * kib).unwrap(), expected);
    client
        .write_zeroes(64 * kib, 64 * kib, ZeroMode::Allocate)
        .unwrap();
    assert_eq!(
        client.block_status(0, 256 * kib).unwrap(),
        [data(256 * kib)],
        "NO_HOLE keeps the space"
    );
    let mut back = vec![1; 64 * 1024];
    client.read(&mut back, 64 * kib).unwrap();
    assert!(back.iter().all(|&byte| byte == 0));
    client.trim(0, 256 * kib).unwrap();
    assert_eq!(
        client.block_status(0, 256 * kib).unwrap(),
        [hole(256 * kib)]
    );
}

#[test]
fn flush_and_fua_reach_the_export() {
    let fixture = Fixture::new();
    let mut client = fixture.client("disk");
    let flushes = || fixture.disk.flushes.load(Ordering::SeqCst);
    client.write(b"lazy", 0).unwrap();
    assert_eq!(flushes(), 0);
    client.flush().unwrap();
    assert_eq!(flushes(), 1);
    client.write_durably(b"now", 0).unwrap();
    assert_eq!(flushes(), 2);
}

#[test]
fn an_export_that_fails_is_reported_and_the_connection_lives_on() {
    let fixture = Fixture::new();
    let mut client = fixture.client("disk");
    for (kind, expected) in [
        (ErrorKind::StorageFull, ErrorCode::NoSpc),
        (ErrorKind::PermissionDenied, ErrorCode::Perm),
        (ErrorKind::NotConnected, ErrorCode::Io),
    ] {
        *fixture.disk.fault.lock().unwrap() = Some(kind);
        assert_eq!(code(client.write(b"data", 0)), expected);
        assert_eq!(
            code(client.write(&pattern(0, 3 << 20), 0)),
            expected,
            "written piece by piece"
        );
        assert_eq!(code(client.read(&mut [0; 4], 0)), expected);
        assert_eq!(code(client.flush()), expected);
        assert_eq!(code(client.block_status(0, 4096)), expected);
    }
    *fixture.disk.fault.lock().unwrap() = None;
    fixture.disk.bad_from.store(2 << 20, Ordering::SeqCst);
    assert_eq!(
        code(client.read(&mut vec![0; 3 << 20], 0)),
        ErrorCode::Io,
        "the last chunk fails"
    );
    fixture.disk.bad_from.store(usize::MAX, Ordering::SeqCst);
    client.write(b"alive", 0).unwrap();
}

#[test]
fn a_read_only_export_takes_no_write() {
    let fixture = Fixture::new();
    let mut client = fixture.client("frozen");
    assert!(client.is_read_only());
    assert_eq!(code(client.write(b"data", 0)), ErrorCode::Perm);
    assert_eq!(
        code(client.write(&pattern(0, 2 << 20), 0)),
        ErrorCode::Perm,
        "the payload is drained"
    );
    assert!(matches!(
        client.trim(0, 4096),
        Err(Error::NotOffered { .. })
    ));
    client.read(&mut [0; 512], 0).unwrap();
}

#[test]
fn ranges_outside_are_refused_on_both_sides() {
    let fixture = Fixture::new();
    let mut client = fixture.client("disk");
    assert!(matches!(
        client.read(&mut [0; 2], SIZE - 1),
        Err(Error::OutOfRange { .. })
    ));
    assert!(matches!(
        client.write(&[0; 2], u64::MAX),
        Err(Error::OutOfRange { .. })
    ));
    client.read(&mut [0; 1], SIZE - 1).unwrap();
}

/// A client without structured replies gets simple ones, also for reads that the server handles in pieces.
#[test]
fn simple_replies_carry_long_reads() {
    let fixture = Fixture::new();
    let data = pattern(9, 3 << 20);
    fixture.client("disk").write(&data, 0).unwrap();
    let mut stream = fixture.raw();
    greet(&mut stream, 3);
    let go = ExportRequest {
        name: "disk".to_owned(),
        info: vec![],
    }
    .to_bytes();
    send_option(&mut stream, option::GO, &go);
    let reply = &mut [0; 20 + 12 + 20];
    stream.read_exact(reply).unwrap();

    let request = Request {
        flags: 0,
        command: command::READ,
        cookie: 5,
        offset: 0,
        length: 3 << 20,
    };
    stream.write_all(&request.to_bytes()).unwrap();
    let mut head = [0; SimpleReply::LENGTH];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(
        SimpleReply::parse(&head).unwrap(),
        SimpleReply {
            error: None,
            cookie: 5
        }
    );
    let mut back = vec![0; 3 << 20];
    stream.read_exact(&mut back).unwrap();
    assert!(back == data);

    let denied = [
        Request {
            length: MAX_REQUEST + 1,
            ..request
        },
        Request {
            flags: command_flag::DF,
            ..request
        },
        Request {
            command: command::CACHE,
            offset: SIZE,
            ..request
        },
        Request {
            command: command::BLOCK_STATUS,
            ..request
        },
        Request {
            command: command::FLUSH,
            ..request
        },
    ];
    for request in denied {
        stream.write_all(&request.to_bytes()).unwrap();
        stream.read_exact(&mut head).unwrap();
        assert_eq!(
            SimpleReply::parse(&head).unwrap().error,
            Some(ErrorCode::Inval)
        );
    }
}

/// Several requests of one connection are inside the export at once when the export is slow.
#[test]
fn slow_requests_run_side_by_side() {
    let fixture = Fixture::new();
    fixture.disk.hold();
    let mut stream = fixture.raw();
    greet(&mut stream, 3);
    let go = ExportRequest {
        name: "disk".to_owned(),
        info: vec![],
    }
    .to_bytes();
    send_option(&mut stream, option::GO, &go);
    stream.read_exact(&mut [0; 20 + 12 + 20]).unwrap();
    // Long reads are always taken for slow.
    for cookie in 0..4 {
        let request = Request {
            flags: 0,
            command: command::READ,
            cookie,
            offset: 0,
            length: 128 * 1024,
        };
        stream.write_all(&request.to_bytes()).unwrap();
    }
    eventually("four reads at once", || {
        fixture.disk.readers.load(Ordering::SeqCst) == 4
    });
    fixture.disk.release();
    let mut cookies = Vec::new();
    for _ in 0..4 {
        let mut reply = vec![0; SimpleReply::LENGTH + 128 * 1024];
        stream.read_exact(&mut reply).unwrap();
        cookies.push(
            SimpleReply::parse(&reply[..SimpleReply::LENGTH])
                .unwrap()
                .cookie,
        );
    }
    cookies.sort_unstable();
    assert_eq!(cookies, [0, 1, 2, 3]);
}

/// A burst of short requests is answered completely, each with its own bytes.
#[test]
fn a_burst_is_answered_in_full() {
    let fixture = Fixture::new();
    let data = pattern(3, 1 << 20);
    fixture.client("disk").write(&data, 0).unwrap();
    let mut stream = fixture.raw();
    greet(&mut stream, 3);
    send_option(
        &mut stream,
        option::GO,
        &ExportRequest {
            name: "disk".to_owned(),
            info: vec![],
        }
        .to_bytes(),
    );
    stream.read_exact(&mut [0; 20 + 12 + 20]).unwrap();
    let mut burst = Vec::new();
    for cookie in 0..256 {
        let request = Request {
            flags: 0,
            command: command::READ,
            cookie,
            offset: cookie * 4096,
            length: 4096,
        };
        burst.extend_from_slice(&request.to_bytes());
    }
    let mut writer = stream.try_clone().unwrap();
    let sending = thread::spawn(move || writer.write_all(&burst).unwrap());
    let mut seen = vec![false; 256];
    for _ in 0..256 {
        let mut reply = [0; SimpleReply::LENGTH + 4096];
        stream.read_exact(&mut reply).unwrap();
        let cookie = SimpleReply::parse(&reply[..SimpleReply::LENGTH])
            .unwrap()
            .cookie as usize;
        assert!(reply[SimpleReply::LENGTH..] == data[cookie * 4096..][..4096]);
        assert!(
            !std::mem::replace(&mut seen[cookie], true),
            "request {cookie} was answered twice"
        );
    }
    sending.join().unwrap();
}

#[test]
fn connections_to_one_export_see_each_other() {
    let fixture = Fixture::new();
    let mut writer = fixture.client("disk");
    let mut reader = fixture.client("disk");
    writer.write(b"shared", 4096).unwrap();
    let mut back = [0; 6];
    reader.read(&mut back, 4096).unwrap();
    assert_eq!(&back, b"shared");
}
