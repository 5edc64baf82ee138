//! A keep-alive HTTP/1.1 client with next to no cost of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, bail};

/// One connection.
pub struct Connection {
    reader: BufReader<TcpStream>,
    authority: String,
    headers: String,
}

/// An answer.
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Connection {
    /// Connects to `http://host:port`; `headers` go with every request, each line ended.
    pub fn open(base: &str, headers: &str) -> anyhow::Result<Self> {
        let authority = base
            .trim_start_matches("http://")
            .split('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        let stream =
            TcpStream::connect(&authority).with_context(|| format!("connect to {authority}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        Ok(Connection {
            reader: BufReader::new(stream),
            authority,
            headers: headers.to_owned(),
        })
    }

    /// Sends a request and reads the whole answer.
    pub fn send(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<Answer> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{}\r\n{body}",
            self.authority,
            body.len(),
            self.headers
        );
        self.reader.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        let status = line
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .context("a status line")?;
        let mut headers = Vec::new();
        let mut length = 0;
        loop {
            line.clear();
            self.reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            let (name, value) = (name.to_ascii_lowercase(), value.trim().to_owned());
            match name.as_str() {
                "content-length" => length = value.parse()?,
                "transfer-encoding" => bail!("{method} {path}: this client reads no chunks"),
                _ => {}
            }
            headers.push((name, value));
        }
        let mut bytes = vec![0; length];
        self.reader.read_exact(&mut bytes)?;
        Ok(Answer {
            status,
            headers,
            body: String::from_utf8(bytes)?,
        })
    }

    /// Sends a request that must succeed.
    pub fn expect(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<Answer> {
        let answer = self.send(method, path, body)?;
        if !(200..300).contains(&answer.status) {
            bail!(
                "{method} {path} answered {}: {}",
                answer.status,
                answer.body
            );
        }
        Ok(answer)
    }
}
