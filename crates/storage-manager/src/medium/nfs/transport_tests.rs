//! What is sent to a server, and what is not.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::AtomicUsize;

use super::*;

/// Longest wait for what comes.
const LONG: Duration = Duration::from_secs(120);

const NFS: Program = Program {
    number: 100_003,
    version: 3,
};

fn transport(address: SocketAddr, timeout: Duration) -> Transport {
    let patience = Patience {
        timeout,
        retries: 0,
    };
    Transport::new(vec![address], false, patience, Credentials::user("m", 0, 0))
}

fn listen() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

/// A call that changes something and waited for a connection is not sent when the SR is another's by then; one that changes
/// nothing is.
#[test]
fn what_waited_for_a_connection_asks_before_it_is_sent() {
    let listener = listen();
    let address = listener.local_addr().unwrap();
    let transport = transport(address, LONG);
    // Every way to the server is in use.
    let held: Vec<_> = (0..MAX_CONNECTIONS)
        .map(|_| connection::connect(address, false, LONG).unwrap())
        .collect();
    transport.pool().open = MAX_CONNECTIONS;
    let is_ours = Arc::new(AtomicBool::new(true));
    let asked = is_ours.clone();
    transport.set_gate(Gate(Arc::new(move || match asked.load(Ordering::SeqCst) {
        true => Ok(()),
        false => Err(io::Error::other("another owns it")),
    })));
    std::thread::scope(|scope| {
        let waiting = |procedure: (&'static str, u32)| {
            let transport = &transport;
            scope.spawn(move || {
                let call = transport.call(procedure, NFS, &Writer::default(), &[]);
                let calls = std::slice::from_ref(&call);
                transport.exchange(calls, transport.deadline(), &mut |_, _, _| Ok(()))
            })
        };
        let write = waiting(("WRITE", 7));
        let until = Instant::now() + LONG;
        while transport.silence().is_none() {
            assert!(Instant::now() < until);
            std::thread::yield_now();
        }
        is_ours.store(false, Ordering::SeqCst);
        for connection in held {
            transport.give_back(connection, 0);
        }
        let refused = write.join().unwrap().unwrap_err();
        assert!(matches!(refused, NfsError::NotSent { .. }), "{refused}");
        let read = waiting(("GETATTR", 1));
        // What is sent over any of the connections is a read.
        let accepted: Vec<_> = (0..MAX_CONNECTIONS)
            .map(|_| {
                let (stream, _) = listener.accept().unwrap();
                stream.set_nonblocking(true).unwrap();
                stream
            })
            .collect();
        let until = Instant::now() + LONG;
        let mut head = [0; 28];
        let has_come = |stream: &TcpStream, head: &mut [u8]| {
            let seen = stream.peek(head);
            seen.is_ok_and(|length| length == head.len())
        };
        while !accepted.iter().any(|stream| has_come(stream, &mut head)) {
            assert!(Instant::now() < until, "nothing is sent");
            std::thread::yield_now();
        }
        assert_eq!(head[24..], 1u32.to_be_bytes());
        transport.close();
        assert!(read.join().unwrap().is_err());
    });
}

/// Nothing more of a batch is sent once the SR is another's: this process may have been stopped in the middle of it.
#[test]
fn a_batch_is_not_sent_to_its_end_when_the_sr_was_lost_meanwhile() {
    const LENGTH: usize = 1 << 20;
    let listener = listen();
    let transport = transport(listener.local_addr().unwrap(), LONG);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    transport.set_gate(Gate(Arc::new(move || {
        match count.fetch_add(1, Ordering::SeqCst) {
            0 => Ok(()),
            _ => Err(io::Error::other("another owns it")),
        }
    })));
    let data = vec![7; LENGTH];
    let calls: Vec<Call<'_>> = (0..MAX_BATCH)
        .map(|_| transport.call(("WRITE", 7), NFS, &Writer::default(), &data))
        .collect();
    // Nobody reads, so the kernel does not take all of it at once.
    let refused = transport.exchange(&calls, transport.deadline(), &mut |_, _, _| Ok(()));
    let refused = refused.unwrap_err();
    assert!(matches!(refused, NfsError::NotSent { .. }), "{refused}");
    let (mut stream, _) = listener.accept().unwrap();
    let mut sent = Vec::new();
    let _ = stream.read_to_end(&mut sent);
    assert!(sent.len() < MAX_BATCH * LENGTH, "{} bytes", sent.len());
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

/// A server that says a little all the time, and never all of an answer, holds nobody beyond his deadline.
#[test]
fn a_server_that_drips_is_given_up_at_the_deadline() {
    let listener = listen();
    let transport = transport(listener.local_addr().unwrap(), Duration::from_secs(1));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            let until = Instant::now() + Duration::from_secs(60);
            // Fragments without bytes, of which none is the last.
            while stream.write_all(&[0; 4]).is_ok() {
                assert!(Instant::now() < until, "it is still read from");
                std::thread::yield_now();
            }
        });
        let call = transport.call(("GETATTR", 1), NFS, &Writer::default(), &[]);
        let calls = std::slice::from_ref(&call);
        let failed = transport.exchange(calls, transport.deadline(), &mut |_, _, _| Ok(()));
        let failed = failed.unwrap_err();
        assert!(matches!(failed, NfsError::NoAnswer { .. }), "{failed}");
    });
}
