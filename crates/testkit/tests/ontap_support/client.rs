//! A few lines of an HTTP client for the REST API, without TLS.

use std::io::{Read, Write};
use std::net::TcpStream;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use testkit::ontap::OntapEmulator;

pub struct Client {
    address: String,
    authorization: String,
}

impl Client {
    pub fn of(array: &OntapEmulator) -> Self {
        let login = &array.logins()[0];
        Client {
            address: format!("{}:{}", array.address(), array.http_port()),
            authorization: BASE64_STANDARD.encode(format!("{}:{}", login.user, login.password)),
        }
    }

    pub fn get(&self, path: &str) -> Value {
        self.call("GET", path, &json!({}))
    }

    pub fn post(&self, path: &str, body: Value) -> Value {
        self.call("POST", path, &body)
    }

    pub fn patch(&self, path: &str, body: Value) -> Value {
        self.call("PATCH", path, &body)
    }

    pub fn delete(&self, path: &str) -> Value {
        self.call("DELETE", path, &json!({}))
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.try_call(method, path, body).expect("an answer");
        assert!(status < 300, "{method} {path}: {status} {answer}");
        answer
    }

    /// Status and body of the answer; none when the connection was cut.
    pub fn try_call(&self, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let body = if method == "GET" {
            String::new()
        } else {
            body.to_string()
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: array\r\nAuthorization: Basic {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            self.authorization,
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, serde_json::from_str(body).ok()?))
    }
}
