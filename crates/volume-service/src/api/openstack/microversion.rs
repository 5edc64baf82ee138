//! Microversions: which one a request asks for, and the headers that say which one was used.
//!
//! Source: `OpenStack-API-Version: volume 3.71`, the API working group's microversion specification, and Cinder, which takes every
//! service whose name has `volume` in it: gophercloud says `volumev3`.

use std::fmt;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, header};
use percent_encoding::percent_decode_str;

use super::super::request::Refusal;
use super::fault::{Fault, Result};

/// Which microversion a request asks for, and an answer has.
pub(super) const HEADER: &str = "openstack-api-version";
const SERVICE: &str = "volume";
/// What the catalogue calls the service, and some clients too.
const CATALOGUE_TYPE: &str = "block-storage";

/// A minor version of the API's major version 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Microversion(u16);

impl Microversion {
    /// The oldest that is spoken, and what a request without the header gets.
    pub const MIN: Microversion = Microversion(0);
    /// The newest that is spoken.
    pub const MAX: Microversion = Microversion(71);

    /// How many there are.
    pub(super) const COUNT: usize = Microversion::MAX.0 as usize + 1;

    /// Its place among them, below [`Microversion::COUNT`].
    pub(super) fn place(self) -> usize {
        usize::from(self.0.min(Microversion::MAX.0))
    }

    /// True from 3.`minor` on.
    pub(super) fn at_least(self, minor: u16) -> bool {
        self.0 >= minor
    }

    /// Refuses as Cinder does when a method does not exist before 3.`minor`.
    pub(super) fn needs(self, minor: u16) -> Result<()> {
        if self.at_least(minor) {
            Ok(())
        } else {
            Err(Refusal::NoRoute.into())
        }
    }

    /// Reads the header's value; versions of other services in it are passed over.
    pub fn parse(header: &str) -> std::result::Result<Self, VersionError> {
        let Some(wanted) = header.split(',').find_map(|part| {
            let (service, version) = part.trim().split_once(' ')?;
            let is_ours = service.contains(SERVICE) || service == CATALOGUE_TYPE;
            is_ours.then_some(version.trim())
        }) else {
            return Ok(Microversion::MIN);
        };
        if wanted == "latest" {
            return Ok(Microversion::MAX);
        }
        let (major, minor) = wanted
            .split_once('.')
            .filter(|(major, minor)| is_number(major) && is_number(minor) && *major != "0")
            .ok_or_else(|| VersionError::Syntax(wanted.to_owned()))?;
        match (major.parse::<u16>(), minor.parse::<u16>()) {
            (Ok(3), Ok(minor)) if minor <= Microversion::MAX.0 => Ok(Microversion(minor)),
            _ => Err(VersionError::Range(wanted.to_owned())),
        }
    }
}

/// A version header that cannot be served; holds the version as sent.
#[derive(Debug, PartialEq, Eq)]
pub enum VersionError {
    /// Not `major.minor`.
    Syntax(String),
    /// Outside of what is spoken.
    Range(String),
}

fn is_number(text: &str) -> bool {
    text == "0"
        || (!text.starts_with('0') && !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()))
}

impl fmt::Display for Microversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "3.{}", self.0)
    }
}

fn requested(headers: &HeaderMap) -> Result<Microversion> {
    let Some(value) = headers.get(HEADER) else {
        return Ok(Microversion::MIN);
    };
    let text = value
        .to_str()
        .map_err(|_| Fault::VersionSyntax("that is not ASCII".to_owned()))?;
    Microversion::parse(text).map_err(|error| match error {
        VersionError::Syntax(text) => Fault::VersionSyntax(text),
        VersionError::Range(text) => Fault::VersionRange(text),
    })
}

/// The layer that settles the version of a request and names it in the answer. A path that is no text is refused here, before
/// any route reads a part of it.
pub(super) async fn negotiate(mut request: Request, next: Next) -> Response {
    let path = percent_decode_str(request.uri().path());
    let (version, mut response) = match requested(request.headers()) {
        Ok(version) if path.decode_utf8().is_err() => {
            (version, Fault::from(Refusal::MalformedUrl).into_response())
        }
        Ok(version) => {
            request.extensions_mut().insert(version);
            (version, next.run(request).await)
        }
        Err(fault) => (Microversion::MIN, fault.into_response()),
    };
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&format!("{SERVICE} {version}")) {
        headers.insert(HEADER, value);
    }
    headers.append(
        header::VARY,
        HeaderValue::from_static("OpenStack-API-Version"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_versions_that_clients_send() {
        assert_eq!(Microversion::parse("volume 3.71"), Ok(Microversion(71)));
        assert_eq!(Microversion::parse("volume latest"), Ok(Microversion::MAX));
        assert_eq!(
            Microversion::parse("compute 2.1, volume 3.27"),
            Ok(Microversion(27))
        );
        for named in ["volumev3 3.54", "block-storage 3.54"] {
            assert_eq!(Microversion::parse(named), Ok(Microversion(54)), "{named}");
        }
        assert_eq!(Microversion::parse("compute 2.1"), Ok(Microversion::MIN));
        assert_eq!(Microversion::parse(""), Ok(Microversion::MIN));
    }

    #[test]
    fn refuses_what_is_malformed_or_out_of_range() {
        for text in [
            "3", "3.", ".1", "3.01", "3.x", "3.-1", "0.1", "3.1.1", "three",
        ] {
            assert_eq!(
                Microversion::parse(&format!("volume {text}")),
                Err(VersionError::Syntax(text.to_owned())),
                "{text}"
            );
        }
        for text in ["3.72", "2.0", "4.0", "3.99999999999999999999"] {
            assert_eq!(
                Microversion::parse(&format!("volume {text}")),
                Err(VersionError::Range(text.to_owned())),
                "{text}"
            );
        }
    }
}
