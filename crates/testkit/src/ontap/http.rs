//! HTTP/1.1 as far as clients of an array speak it: requests with a body of a known length, answers, connections that stay open.

use std::io::{self, BufRead, BufReader, Read, Write};

/// Bytes of a line.
const LONGEST_LINE: u64 = 64 << 10;
/// Header lines of a request.
const MOST_HEADERS: usize = 100;
/// Bytes of a body.
const LONGEST_BODY: usize = 8 << 20;

/// A request.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `GET` and the like.
    pub method: String,
    /// The path, as it was sent.
    pub path: String,
    /// The query, as it was sent, without its mark.
    pub query: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// What the body is.
    pub content_type: &'static str,
    /// More headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// Reads the next request; none at the end of the stream. A client that waits to be told so is told to go on.
    pub fn read(from: &mut BufReader<impl Read + Write>) -> io::Result<Option<Self>> {
        let Some(first) = line(from)?.filter(|line| !line.is_empty()) else {
            return Ok(None);
        };
        let mut words = first.split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut request = Request {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            ..Request::default()
        };
        while let Some(header) = line(from)?.filter(|line| !line.is_empty()) {
            let (name, value) = header.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
            request
                .headers
                .push((name.trim().to_lowercase(), value.trim().to_owned()));
            if request.headers.len() > MOST_HEADERS {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        if request
            .header("expect")
            .is_some_and(|value| value.eq_ignore_ascii_case("100-continue"))
        {
            from.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            from.get_mut().flush()?;
        }
        if request.header("transfer-encoding").is_some() {
            request.body = chunks(from)?;
        } else if let Some(length) = request.header("content-length") {
            let length: usize = length.parse().map_err(|_| io::ErrorKind::InvalidData)?;
            if length > LONGEST_BODY {
                return Err(io::ErrorKind::InvalidData.into());
            }
            request.body = vec![0; length];
            from.read_exact(&mut request.body)?;
        }
        Ok(Some(request))
    }

    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether the connection stays open after the answer.
    pub fn keeps_open(&self) -> bool {
        !self
            .header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// The query with its mark, if there is one.
    pub fn query_mark(&self) -> String {
        match self.query.as_str() {
            "" => String::new(),
            query => format!("?{query}"),
        }
    }
}

impl Response {
    /// An answer with JSON.
    pub fn json(status: u16, value: &serde_json::Value) -> Self {
        Response {
            status,
            content_type: "application/hal+json",
            headers: Vec::new(),
            body: value.to_string().into_bytes(),
        }
    }

    /// An answer with XML.
    pub fn xml(body: String) -> Self {
        Response {
            status: 200,
            content_type: "text/xml; charset=UTF-8",
            headers: Vec::new(),
            body: body.into_bytes(),
        }
    }

    /// Writes it.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut head = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n",
            self.status,
            reason(self.status),
            self.content_type,
            self.body.len()
        );
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut whole = head.into_bytes();
        whole.extend_from_slice(&self.body);
        to.write_all(&whole)?;
        to.flush()
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        _ => "Internal Server Error",
    }
}

fn line(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    from.by_ref()
        .take(LONGEST_LINE)
        .read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&bytes);
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

fn chunks(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = line(from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let size = size.split(';').next().unwrap_or("").trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
        if body.len() + size > LONGEST_BODY {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let start = body.len();
        body.resize(start + size, 0);
        from.read_exact(&mut body[start..])?;
        line(from)?;
        if size == 0 {
            return Ok(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &str) -> Request {
        let mut peer = BufReader::new(Peer(bytes.as_bytes().to_vec().into()));
        Request::read(&mut peer).unwrap().unwrap()
    }

    struct Peer(std::collections::VecDeque<u8>);

    impl Read for Peer {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            self.0.read(to)
        }
    }

    impl Write for Peer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn reads_a_body_by_its_length_and_in_chunks() {
        let request = read("POST /api//x?a=b HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcd");
        assert_eq!(
            (request.path.as_str(), request.query.as_str()),
            ("/api//x", "a=b")
        );
        assert_eq!(request.body, b"abc");
        let chunked = read(
            "POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        );
        assert_eq!(chunked.body, b"abcde");
    }
}
