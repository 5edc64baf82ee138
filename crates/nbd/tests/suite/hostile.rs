//! Peers that break the rules: the server survives each and serves the next.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use nbd::client::ClientOptions;
use nbd::protocol::constants::{REQUEST_MAGIC, command, option, option_reply};
use nbd::protocol::{
    ChunkHeader, ExportRequest, Info, OptionHeader, OptionReplyHeader, Request, ServerHello,
    SimpleReply,
};
use nbd::server::{ConnectionInfo, Limits, ListenerOptions, MAX_REQUEST};
use nbd::{Client, Error, PeerAddress};

use crate::fixture::{Fixture, PATIENCE, SIZE, eventually, pattern};
use crate::handshake::{greet, send_option};

/// Checks that the server closed the connection, and serves the next client.
fn closed_and_alive(fixture: &Fixture, mut stream: UnixStream) {
    let mut rest = Vec::new();
    // A reset is a way of closing, too.
    let _ = stream.read_to_end(&mut rest);
    drop(stream);
    eventually("the connection to be forgotten", || {
        fixture.server.connections().is_empty()
    });
    let mut client = fixture.client("disk");
    client.read(&mut [0; 512], 0).unwrap();
    client.disconnect().unwrap();
    eventually("the good connection to end", || {
        fixture.server.connections().is_empty()
    });
}

fn transmission(fixture: &Fixture) -> UnixStream {
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
    stream
}

#[test]
fn garbage_instead_of_flags_or_options_ends_the_connection() {
    let fixture = Fixture::new();
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: nbd\r\n\r\n"[..],
        &[0xff; 64],
        &[0, 0, 0, 3, 1, 2, 3, 4, 5, 6, 7, 8],
    ] {
        let mut stream = fixture.raw();
        stream.write_all(garbage).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        closed_and_alive(&fixture, stream);
    }
}

#[test]
fn oversized_options_end_the_connection() {
    let fixture = Fixture::new();
    for (code, length) in [
        (4711, u32::MAX),
        (option::GO, 1 << 20),
        (option::EXPORT_NAME, 4097),
    ] {
        let mut stream = fixture.raw();
        greet(&mut stream, 3);
        stream
            .write_all(
                &OptionHeader {
                    option: code,
                    length,
                }
                .to_bytes(),
            )
            .unwrap();
        closed_and_alive(&fixture, stream);
    }
}

#[test]
fn endless_options_end_the_connection() {
    let fixture = Fixture::new();
    let mut stream = fixture.raw();
    greet(&mut stream, 3);
    let mut answered = 0;
    loop {
        let header = OptionHeader {
            option: 4711,
            length: 0,
        };
        if stream.write_all(&header.to_bytes()).is_err() {
            break;
        }
        let mut reply = [0; OptionReplyHeader::LENGTH + "unknown option".len()];
        if stream.read_exact(&mut reply).is_err() {
            break;
        }
        answered += 1;
    }
    assert_eq!(answered, 64);
    closed_and_alive(&fixture, stream);
}

#[test]
fn early_closes_at_every_byte_are_harmless() {
    let fixture = Fixture::new();
    let go = ExportRequest {
        name: "disk".to_owned(),
        info: vec![3],
    }
    .to_bytes();
    let request = Request {
        flags: 0,
        command: command::WRITE,
        cookie: 1,
        offset: 0,
        length: 4096,
    };
    let mut session = vec![0, 0, 0, 3];
    session.extend_from_slice(
        &OptionHeader {
            option: option::GO,
            length: go.len() as u32,
        }
        .to_bytes(),
    );
    session.extend_from_slice(&go);
    session.extend_from_slice(&request.to_bytes());
    session.extend_from_slice(&pattern(0, 100));
    for length in 0..session.len() {
        let mut stream = fixture.raw();
        stream.write_all(&session[..length]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
    eventually("all connections to be forgotten", || {
        fixture.server.connections().is_empty()
    });
    let mut back = vec![0; 4096];
    fixture.client("disk").read(&mut back, 0).unwrap();
    assert!(
        back.iter().all(|&byte| byte == 0),
        "half a payload is never written"
    );
}

#[test]
fn a_wrong_request_magic_ends_the_connection() {
    let fixture = Fixture::new();
    let mut stream = transmission(&fixture);
    let mut request = Request {
        flags: 0,
        command: command::READ,
        cookie: 1,
        offset: 0,
        length: 512,
    }
    .to_bytes();
    request[0..4].copy_from_slice(&(REQUEST_MAGIC ^ 1).to_be_bytes());
    stream.write_all(&request).unwrap();
    closed_and_alive(&fixture, stream);
}

#[test]
fn a_write_above_the_limit_ends_the_connection() {
    let fixture = Fixture::new();
    let mut stream = transmission(&fixture);
    let length = MAX_REQUEST + 1;
    stream
        .write_all(
            &Request {
                flags: 0,
                command: command::WRITE,
                cookie: 1,
                offset: 0,
                length,
            }
            .to_bytes(),
        )
        .unwrap();
    closed_and_alive(&fixture, stream);
}

/// The payload of a refused write must not be taken for requests.
#[test]
fn the_payload_of_a_refused_write_is_drained() {
    let fixture = Fixture::new();
    let mut stream = transmission(&fixture);
    let length = 2 << 20;
    let beyond = Request {
        flags: 0,
        command: command::WRITE,
        cookie: 1,
        offset: SIZE,
        length,
    };
    let trap = Request {
        flags: 0,
        command: command::DISC,
        cookie: 2,
        offset: 0,
        length: 0,
    }
    .to_bytes();
    let payload: Vec<u8> = trap.iter().copied().cycle().take(length as usize).collect();
    stream.write_all(&beyond.to_bytes()).unwrap();
    stream.write_all(&payload).unwrap();
    stream
        .write_all(
            &Request {
                command: command::FLUSH,
                cookie: 3,
                offset: 0,
                length: 0,
                ..beyond
            }
            .to_bytes(),
        )
        .unwrap();
    let mut replies = [0; 2 * SimpleReply::LENGTH];
    stream.read_exact(&mut replies).unwrap();
    let (first, second) = replies.split_at(SimpleReply::LENGTH);
    assert_eq!(
        SimpleReply::parse(first).unwrap().error,
        Some(nbd::protocol::ErrorCode::NoSpc)
    );
    assert_eq!(
        SimpleReply::parse(second).unwrap(),
        SimpleReply {
            error: None,
            cookie: 3
        }
    );
}

#[test]
fn a_slow_handshake_hits_its_deadline() {
    let fixture = Fixture::with_limits(Limits {
        handshake: Duration::from_millis(200),
        ..Limits::default()
    });
    let mut silent = fixture.raw();
    let mut dripping = fixture.raw();
    let _ = silent.read_to_end(&mut Vec::new());
    // One byte at a time never reaches a timeout of its own, but the deadline is one for the whole handshake.
    for byte in [0, 0, 0, 3].into_iter().chain(std::iter::repeat(0x49)) {
        if dripping.write_all(&[byte]).is_err() {
            break;
        }
        thread::yield_now();
    }
    eventually("both to be forgotten", || {
        fixture.server.connections().is_empty()
    });
}

#[test]
fn connections_above_the_limit_are_turned_away() {
    let fixture = Fixture::with_limits(Limits {
        connections: 2,
        ..Limits::default()
    });
    let one = fixture.client("disk");
    let _two = fixture.client("disk");
    let mut third = fixture.raw();
    assert_eq!(
        third.read(&mut [0; 1]).unwrap(),
        0,
        "closed without a greeting"
    );
    one.disconnect().unwrap();
    eventually("a place to become free", || {
        fixture.server.connections().len() == 1
    });
    fixture.client("disk").read(&mut [0; 512], 0).unwrap();
}

#[test]
fn silent_tcp_peers_take_no_places_of_others() {
    let fixture = Fixture::with_limits(Limits {
        tcp_handshakes: 2,
        ..Limits::default()
    });
    let any = "127.0.0.1:0".parse().unwrap();
    let listening = fixture.server.listen_tcp(any, ListenerOptions::plaintext());
    let address = listening.unwrap().1;
    let mut silent: Vec<TcpStream> = (0..2)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    for stream in &mut silent {
        stream.read_exact(&mut [0; 8]).unwrap();
    }
    let mut third = TcpStream::connect(address).unwrap();
    third.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(
        third.read(&mut [0; 1]).unwrap(),
        0,
        "closed without a greeting"
    );
    fixture.client("disk").read(&mut [0; 512], 0).unwrap();
    silent.pop();
    eventually("a place to become free", || {
        let connections = fixture.server.connections();
        let tcp = |info: &&ConnectionInfo| matches!(info.peer.address, PeerAddress::Tcp { .. });
        connections.iter().filter(tcp).count() == 1
    });
    // Whoever is through the handshake makes room for the next.
    let options = ClientOptions::default();
    let clients: Vec<Client> = (0..3)
        .map(|_| Client::connect_tcp(address, "disk", &options).unwrap())
        .collect();
    clients
        .into_iter()
        .for_each(|client| client.disconnect().unwrap());
}

#[test]
fn an_export_that_panics_takes_only_its_connection() {
    let fixture = Fixture::new();
    let mut client = fixture.client("disk");
    fixture
        .disk
        .panics
        .store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(client.read(&mut [0; 512], 0).is_err());
    assert!(matches!(client.read(&mut [0; 512], 0), Err(Error::Broken)));
    fixture
        .disk
        .panics
        .store(false, std::sync::atomic::Ordering::SeqCst);
    eventually("the connection to be forgotten", || {
        fixture.server.connections().is_empty()
    });
    fixture.client("disk").read(&mut [0; 512], 0).unwrap();
}

/// Plays a server that sends `script` and then waits for the client to go.
fn false_server(script: Vec<u8>) -> (UnixStream, thread::JoinHandle<()>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    let thread = thread::spawn(move || {
        let mut ours = ours;
        // The client may leave before it has read all.
        let _ = ours.write_all(&script);
        let _ = ours.shutdown(Shutdown::Write);
        let _ = ours.read_to_end(&mut Vec::new());
    });
    (theirs, thread)
}

fn honest_handshake() -> Vec<u8> {
    let mut script = ServerHello { flags: 3 }.to_bytes().to_vec();
    let mut reply = |option, reply, data: &[u8]| {
        let length = data.len() as u32;
        script.extend_from_slice(
            &OptionReplyHeader {
                option,
                reply,
                length,
            }
            .to_bytes(),
        );
        script.extend_from_slice(data);
    };
    reply(option::STRUCTURED_REPLY, option_reply::ACK, &[]);
    reply(option::SET_META_CONTEXT, option_reply::ACK, &[]);
    reply(
        option::GO,
        option_reply::INFO,
        &Info::Export {
            size: SIZE,
            flags: 1,
        }
        .to_bytes(),
    );
    reply(option::GO, option_reply::ACK, &[]);
    script
}

#[test]
fn the_client_survives_false_servers() {
    let chunk = |flags, kind, cookie, length| {
        ChunkHeader {
            flags,
            kind,
            cookie,
            length,
        }
        .to_bytes()
        .to_vec()
    };
    let data = |cookie, length, offset: u64| {
        [chunk(1, 1, cookie, length), offset.to_be_bytes().to_vec()].concat()
    };
    let replies = [
        vec![],
        vec![0; 40],
        SimpleReply {
            error: None,
            cookie: 1,
        }
        .to_bytes()
        .to_vec(),
        chunk(1, 0, 1, 0),
        chunk(1, 0, 9, 0),
        chunk(1, 77, 1, 0),
        chunk(1, 5, 1, 12),
        chunk(1, 0x8001, 1, u32::MAX),
        data(1, u32::MAX, 0),
        data(1, 8, 0),
        data(1, 8 + 512, 1),
        data(1, 8 + 512, u64::MAX),
        [
            chunk(1, 2, 1, 12),
            SIZE.to_be_bytes().to_vec(),
            vec![0, 0, 2, 0],
        ]
        .concat(),
    ];
    for reply in replies {
        let (stream, server) = false_server([honest_handshake(), reply.clone()].concat());
        let mut client = Client::from_stream(stream, "disk", &ClientOptions::default()).unwrap();
        let result = client.read(&mut [0; 512], 0);
        assert!(result.is_err(), "{reply:?}");
        assert!(matches!(client.read(&mut [0; 512], 0), Err(Error::Broken)));
        drop(client);
        server.join().unwrap();
    }
    let hole = [
        chunk(1, 2, 1, 12),
        0u64.to_be_bytes().to_vec(),
        vec![0, 0, 2, 0],
    ]
    .concat();
    let (stream, server) = false_server([honest_handshake(), hole].concat());
    let mut client = Client::from_stream(stream, "disk", &ClientOptions::default()).unwrap();
    let mut buffer = [1; 512];
    client.read(&mut buffer, 0).unwrap();
    assert_eq!(buffer, [0; 512], "a hole chunk is zeros");
    drop(client);
    server.join().unwrap();
}

#[test]
fn the_client_refuses_false_handshakes() {
    let honest = honest_handshake();
    for cut in 0..honest.len() {
        let (stream, server) = false_server(honest[..cut].to_vec());
        assert!(
            Client::from_stream(stream, "disk", &ClientOptions::default()).is_err(),
            "cut at {cut}"
        );
        server.join().unwrap();
    }
    let mut long = honest[..ServerHello::LENGTH].to_vec();
    let header = OptionReplyHeader {
        option: option::STRUCTURED_REPLY,
        reply: option_reply::ACK,
        length: u32::MAX,
    };
    long.extend_from_slice(&header.to_bytes());
    let (stream, server) = false_server(long);
    let result = Client::from_stream(stream, "disk", &ClientOptions::default());
    assert!(matches!(result, Err(Error::Limit { .. })));
    server.join().unwrap();
}
