//! A keep-alive HTTP/1.1 client with next to no cost of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, bail};

/// How long an answer may take to begin.
const ANSWER_WAIT: Duration = Duration::from_secs(120);

/// One connection, which is made again when the server closes it.
pub struct Connection {
    reader: BufReader<TcpStream>,
    /// The server has said that it closes it.
    is_closing: bool,
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
        Ok(Connection {
            reader: connect(&authority)?,
            is_closing: false,
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
        self.exchange(&request)
            .with_context(|| format!("{method} {path}"))
    }

    /// Posts a body of another media type to `/`, with headers of this request alone.
    pub fn post(&mut self, media: &str, headers: &str, body: &str) -> anyhow::Result<Answer> {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: {}\r\nContent-Type: {media}\r\nContent-Length: {}\r\n{}{headers}\r\n{body}",
            self.authority,
            body.len(),
            self.headers
        );
        self.exchange(&request).context("POST /")
    }

    fn exchange(&mut self, request: &str) -> anyhow::Result<Answer> {
        if self.is_closing {
            self.reader = connect(&self.authority)?;
            self.is_closing = false;
        }
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
                "connection" => self.is_closing = value.eq_ignore_ascii_case("close"),
                "transfer-encoding" => bail!("this client reads no chunks"),
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

fn connect(authority: &str) -> anyhow::Result<BufReader<TcpStream>> {
    let stream =
        TcpStream::connect(authority).with_context(|| format!("connect to {authority}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_WAIT))?;
    Ok(BufReader::new(stream))
}
