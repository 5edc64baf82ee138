//! Sockets, disconnections and shutting down.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use nbd::client::ClientOptions;
use nbd::server::{Limits, ListenerOptions};
use nbd::{Client, Error, PeerAddress};

use crate::fixture::{Fixture, PATIENCE, eventually};

#[test]
fn the_socket_is_private_and_goes_with_the_listener() {
    let fixture = Fixture::silent(Limits::default());
    let id = fixture
        .server
        .listen_unix(&fixture.socket(), ListenerOptions::plaintext())
        .unwrap();
    let mode = fs::metadata(fixture.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut client = fixture.client("disk");
    fixture.server.stop_listening(id).unwrap();
    assert!(!fixture.socket().exists());
    assert!(matches!(
        fixture.server.stop_listening(id),
        Err(Error::NoSuchListener { .. })
    ));
    client.read(&mut [0; 512], 0).unwrap();
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let fixture = Fixture::silent(Limits::default());
    // std leaves the file behind, as a killed process does.
    drop(UnixListener::bind(fixture.socket()).unwrap());
    assert!(fixture.socket().exists());
    fixture
        .server
        .listen_unix(&fixture.socket(), ListenerOptions::plaintext())
        .unwrap();
    let other = Fixture::silent(Limits::default());
    let refused = other
        .server
        .listen_unix(&fixture.socket(), ListenerOptions::plaintext());
    assert!(matches!(refused, Err(Error::SocketInUse { .. })));
    fixture.client("disk").read(&mut [0; 512], 0).unwrap();
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let fixture = Fixture::silent(Limits::default());
    fs::write(fixture.socket(), "precious").unwrap();
    let refused = fixture
        .server
        .listen_unix(&fixture.socket(), ListenerOptions::plaintext());
    assert!(matches!(refused, Err(Error::NotASocket { .. })));
    assert_eq!(fs::read(fixture.socket()).unwrap(), b"precious");
    let long = fixture.directory.path().join("x".repeat(120));
    let refused = fixture
        .server
        .listen_unix(&long, ListenerOptions::plaintext());
    assert!(matches!(refused, Err(Error::SocketPathTooLong { .. })));
}

/// A file that took the place of ours is not ours to remove.
#[test]
fn a_file_in_the_socket_s_place_survives_the_shutdown() {
    let fixture = Fixture::new();
    fs::remove_file(fixture.socket()).unwrap();
    fs::write(fixture.socket(), "somebody else's").unwrap();
    fixture.server.shutdown(PATIENCE).unwrap();
    assert!(fixture.socket().exists());
}

#[test]
fn tcp_serves_and_tells_who_is_connected() {
    let fixture = Fixture::silent(Limits::default());
    let any = "127.0.0.1:0".parse().unwrap();
    let (_, address) = fixture
        .server
        .listen_tcp(any, ListenerOptions::plaintext())
        .unwrap();
    let mut client = Client::connect_tcp(address, "disk", &ClientOptions::default()).unwrap();
    client.write(b"over TCP", 0).unwrap();
    let connections = fixture.server.connections();
    assert_eq!(connections.len(), 1);
    assert_eq!(connections[0].key.as_deref(), Some("disk"));
    assert!(
        matches!(connections[0].peer.address, PeerAddress::Tcp { local, .. } if local == address)
    );
    fixture.server.shutdown(PATIENCE).unwrap();
    assert!(Client::connect_tcp(address, "disk", &ClientOptions::default()).is_err());
}

#[test]
fn an_adopted_connection_is_served() {
    let fixture = Fixture::silent(Limits::default());
    let (ours, theirs) = UnixStream::pair().unwrap();
    fixture
        .server
        .serve(theirs, &ListenerOptions::plaintext())
        .unwrap();
    let mut client = Client::from_stream(ours, "disk", &ClientOptions::default()).unwrap();
    client.read(&mut [0; 512], 0).unwrap();
}

/// Disconnecting ends the connections of one export, and afterwards nothing holds it.
#[test]
fn disconnecting_frees_the_export() {
    let fixture = Fixture::new();
    let mut clients = [fixture.client("disk"), fixture.client("disk")];
    let mut other = fixture.client("frozen");
    clients[0].write(b"data", 0).unwrap();
    fixture.catalogue.remove("disk");
    assert_eq!(fixture.server.disconnect("disk", PATIENCE).unwrap(), 2);
    assert_eq!(
        Arc::strong_count(&fixture.disk),
        1,
        "only the test holds the export"
    );
    for client in &mut clients {
        assert!(client.read(&mut [0; 512], 0).is_err());
    }
    other.read(&mut [0; 512], 0).unwrap();
    assert_eq!(fixture.server.disconnect("disk", PATIENCE).unwrap(), 0);
    let refused = Client::connect_unix(&fixture.socket(), "disk", &ClientOptions::default());
    assert!(matches!(refused, Err(Error::OptionRefused { .. })));
}

/// A request in flight is answered before the connection goes.
#[test]
fn a_request_in_flight_is_answered() {
    let fixture = Fixture::new();
    let mut client = fixture.client("disk");
    fixture.disk.hold();
    thread::scope(|scope| {
        let reading = scope.spawn(|| client.read(&mut [0; 512], 0));
        eventually("the read to arrive", || {
            fixture.disk.readers.load(Ordering::SeqCst) == 1
        });
        let ending = scope.spawn(|| fixture.server.disconnect("disk", PATIENCE));
        fixture.disk.release();
        assert_eq!(ending.join().unwrap().unwrap(), 1);
        reading.join().unwrap().unwrap();
    });
}

/// A call that does not come back is reported instead of waited for.
#[test]
fn an_export_that_hangs_is_reported() {
    let fixture = Fixture::new();
    let mut client = fixture.client("disk");
    fixture.disk.hold();
    thread::scope(|scope| {
        let reading = scope.spawn(|| client.read(&mut [0; 512], 0));
        eventually("the read to arrive", || {
            fixture.disk.readers.load(Ordering::SeqCst) == 1
        });
        let result = fixture.server.disconnect("disk", Duration::from_millis(50));
        assert!(matches!(
            result,
            Err(Error::StillBusy { connections: 1, .. })
        ));
        fixture.disk.release();
        assert!(reading.join().unwrap().is_err(), "its socket was cut");
    });
    fixture.server.disconnect("disk", PATIENCE).unwrap();
    eventually("the connection to end", || {
        fixture.server.connections().is_empty()
    });
}

#[test]
fn shutting_down_ends_everything() {
    let fixture = Fixture::new();
    let mut client = fixture.client("disk");
    let mut silent = fixture.raw();
    eventually("both to be there", || {
        fixture.server.connections().len() == 2
    });
    fixture.server.shutdown(PATIENCE).unwrap();
    assert!(client.read(&mut [0; 512], 0).is_err());
    // The greeting may have been sent already.
    let _ = std::io::Read::read_to_end(&mut silent, &mut Vec::new());
    assert!(!fixture.socket().exists());
    assert!(fixture.server.connections().is_empty());
    fixture.server.shutdown(PATIENCE).unwrap();
}
