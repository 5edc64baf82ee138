//! One request on a connection of its own, byte for byte.

#![allow(dead_code)] // each test file uses its own part

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use crate::support::PATIENCE;

/// An answer as it came.
#[derive(Debug)]
pub struct Answer {
    pub version: String,
    pub status: u16,
    pub reason: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// A request whose body is under way.
pub struct Exchange {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Exchange {
    /// Sends a head as it is, and a body beside, as far as the server takes it.
    pub fn raw(address: SocketAddr, head: &[u8], body: Vec<u8>) -> Exchange {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        (&stream).write_all(head).unwrap();
        let mut sender = stream.try_clone().unwrap();
        // It ends with the body, or with the connection.
        std::thread::spawn(move || sender.write_all(&body).is_ok());
        let reader = BufReader::new(stream.try_clone().unwrap());
        Exchange { stream, reader }
    }

    /// Sends a head; `line` and each header without its line end.
    pub fn begin(address: SocketAddr, line: &str, headers: &[&str]) -> Exchange {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut head = format!("{line} HTTP/1.1\r\nHost: 127.0.0.1\r\n");
        for header in headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        (&stream).write_all(head.as_bytes()).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Exchange { stream, reader }
    }

    /// Sends bytes; false when the server has had enough.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Reads the head of the answer, past interim ones.
    pub fn head(&mut self) -> Answer {
        loop {
            let answer = self.one_head();
            if answer.status != 100 {
                return answer;
            }
        }
    }

    fn one_head(&mut self) -> Answer {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        let mut words = line.trim_end().splitn(3, ' ');
        let version = words.next().unwrap_or_default().to_owned();
        let status = words.next().and_then(|code| code.parse().ok()).unwrap_or(0);
        let reason = words.next().unwrap_or_default().to_owned();
        let mut headers = Vec::new();
        loop {
            line.clear();
            self.reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Answer {
            version,
            status,
            reason,
            headers,
            body: Vec::new(),
        }
    }

    /// Reads some bytes of the body.
    pub fn read(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.reader.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Reads to the end of the connection; one that is cut ends too.
    pub fn rest(&mut self) -> Vec<u8> {
        let (mut bytes, mut part) = (Vec::new(), vec![0; 1 << 16]);
        loop {
            match self.reader.read(&mut part) {
                Ok(0) => return bytes,
                Ok(count) => bytes.extend_from_slice(&part[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return bytes,
                Err(error) => panic!("the server neither sends nor closes: {error}"),
            }
        }
    }

    /// Reads the whole answer.
    pub fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        answer.body = self.rest();
        answer
    }
}

/// Sends a request with its whole body and reads the whole answer.
pub fn exchange(address: SocketAddr, line: &str, headers: &[&str], body: &[u8]) -> Answer {
    let length = format!("Content-Length: {}", body.len());
    let mut all: Vec<&str> = headers.to_vec();
    if !line.starts_with("GET") && !headers.iter().any(|header| header.contains("ength")) {
        all.push(&length);
    }
    let mut exchange = Exchange::begin(address, line, &all);
    let mut sender = exchange.stream.try_clone().unwrap();
    let body = body.to_owned();
    // The server may answer, and close, before it has read everything.
    let sending = std::thread::spawn(move || sender.write_all(&body).is_ok());
    let answer = exchange.answer();
    let _ = exchange.stream.shutdown(Shutdown::Both);
    sending.join().unwrap();
    answer
}
