//! Signature version 4, in the `Authorization` header or in the query.
//!
//! Source: AWS General Reference, "Signature Version 4 signing process".

use ring::{digest, hmac};

use super::super::timestamp;
use super::fault::Result;
use super::parameters::Parameters;
use super::signature::{
    LIFE_MAX_S, SKEW_MAX_US, SignedRequest, canonical_query, check_skew, encode, expired,
    incomplete, mismatch,
};
use crate::config::Secret;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Most headers that a signature may cover.
const SIGNED_HEADERS_MAX: usize = 64;

/// The parts of a version 4 signature, as sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// The access key id.
    pub access_key: String,
    /// The scope's date, `20150830`.
    pub date: String,
    /// The scope's region.
    pub region: String,
    /// The scope's service.
    pub service: String,
    /// Lower-case names of the signed headers.
    pub signed_headers: Vec<String>,
    /// The signature.
    pub signature: [u8; 32],
}

/// Takes an `Authorization` header apart; `None` when it is not one of version 4.
pub fn parse_authorization(text: &str) -> Option<Authorization> {
    let rest = text.trim().strip_prefix(ALGORITHM)?;
    let (mut credential, mut headers, mut signature) = (None, None, None);
    for part in rest.split(',') {
        let (name, value) = part.trim().split_once('=')?;
        match name {
            "Credential" => credential = Some(value),
            "SignedHeaders" => headers = Some(value),
            "Signature" => signature = Some(value),
            _ => return None,
        }
    }
    assemble(credential?, headers?, signature?)
}

fn assemble(credential: &str, headers: &str, signature: &str) -> Option<Authorization> {
    // The access key is everything before the last four parts.
    let mut parts = credential.rsplitn(5, '/');
    if parts.next()? != "aws4_request" {
        return None;
    }
    let (service, region, date) = (parts.next()?, parts.next()?, parts.next()?);
    let access_key = parts.next().filter(|key| !key.is_empty())?;
    let signed_headers: Vec<String> = headers.split(';').map(str::to_lowercase).collect();
    if signed_headers.len() > SIGNED_HEADERS_MAX {
        return None;
    }
    Some(Authorization {
        access_key: access_key.to_owned(),
        date: date.to_owned(),
        region: region.to_owned(),
        service: service.to_owned(),
        signed_headers,
        signature: from_hex(signature)?,
    })
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let text = text.as_bytes();
    if text.len() != 64 {
        return None;
    }
    let mut out = [0; 32];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        let high = (pair[0] as char).to_digit(16)?;
        let low = (pair[1] as char).to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(out)
}

/// What a request claims; not yet checked.
pub(super) struct Claim {
    pub(super) authorization: Authorization,
    /// The time in the basic form, as it is signed.
    time: String,
    /// True when the signature is in the query and not part of what it signs.
    in_query: bool,
}

impl Claim {
    /// Reads the header and checks the time.
    pub(super) fn from_header(request: &SignedRequest, text: &str, now_us: i64) -> Result<Self> {
        let authorization = parse_authorization(text)
            .ok_or_else(|| incomplete("the Authorization header is not AWS4-HMAC-SHA256 with Credential, SignedHeaders and Signature"))?;
        let (dated, time) = time_of(request)
            .ok_or_else(|| incomplete("there is neither a header x-amz-date nor a date"))?;
        for needed in ["host", dated] {
            if !authorization
                .signed_headers
                .iter()
                .any(|name| name == needed)
            {
                return Err(incomplete(&format!("the header {needed} must be signed")));
            }
        }
        check_skew(signed_at(&authorization, &time)?, now_us)?;
        Ok(Claim {
            authorization,
            time,
            in_query: false,
        })
    }

    /// Reads the query and checks the time.
    pub(super) fn from_query(parameters: &Parameters, now_us: i64) -> Result<Self> {
        let get = |name: &str| {
            parameters
                .get(name)
                .ok_or_else(|| incomplete(&format!("{name} is missing")))
        };
        if get("X-Amz-Algorithm")? != ALGORITHM {
            return Err(incomplete("X-Amz-Algorithm must be AWS4-HMAC-SHA256"));
        }
        let authorization = assemble(
            get("X-Amz-Credential")?,
            get("X-Amz-SignedHeaders")?,
            get("X-Amz-Signature")?,
        )
        .ok_or_else(|| incomplete("X-Amz-Credential, X-Amz-SignedHeaders or X-Amz-Signature"))?;
        if !authorization
            .signed_headers
            .iter()
            .any(|name| name == "host")
        {
            return Err(incomplete("the header host must be signed"));
        }
        let time = get("X-Amz-Date")?.to_owned();
        let expires_s: i64 = get("X-Amz-Expires")?
            .parse()
            .ok()
            .filter(|seconds| (1..=LIFE_MAX_S).contains(seconds))
            .ok_or_else(|| incomplete("X-Amz-Expires must be 1 to 604800"))?;
        let signed_us = signed_at(&authorization, &time)?;
        if signed_us > now_us.saturating_add(SKEW_MAX_US)
            || signed_us.saturating_add(expires_s * 1_000_000) < now_us
        {
            return Err(expired());
        }
        Ok(Claim {
            authorization,
            time,
            in_query: true,
        })
    }

    /// When it was signed, in the basic form.
    pub(super) fn time(&self) -> &str {
        &self.time
    }

    /// Compares in constant time.
    pub(super) fn matches(&self, secret: &Secret, request: &SignedRequest) -> bool {
        let Some(canonical) = self.canonical_request(request) else {
            return false;
        };
        let authorization = &self.authorization;
        let text = format!(
            "{ALGORITHM}\n{}\n{}/{}/{}/aws4_request\n{}",
            self.time,
            authorization.date,
            authorization.region,
            authorization.service,
            sha256_hex(canonical.as_bytes())
        );
        hmac::verify(
            &self.signing_key(secret),
            text.as_bytes(),
            &authorization.signature,
        )
        .is_ok()
    }

    fn signing_key(&self, secret: &Secret) -> hmac::Key {
        let authorization = &self.authorization;
        let start = zeroize::Zeroizing::new(format!("AWS4{}", secret.expose()));
        let parts = [
            authorization.date.as_str(),
            &authorization.region,
            &authorization.service,
            "aws4_request",
        ];
        let first = hmac::Key::new(hmac::HMAC_SHA256, start.as_bytes());
        parts.iter().fold(first, |key, part| {
            let tag = hmac::sign(&key, part.as_bytes());
            hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref())
        })
    }

    /// The request in the form that is signed; `None` when a signed header is not there, or the announced hash of the
    /// body is not its hash.
    fn canonical_request(&self, request: &SignedRequest) -> Option<String> {
        let decoded = Parameters::parse(&request.query, b"").ok()?;
        let pairs = decoded
            .pairs()
            .iter()
            .filter(|(name, _)| !(self.in_query && name == "X-Amz-Signature"))
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let body_hash = match &request.body_hash {
            Some(hash) => hash.clone(),
            None => sha256_hex(&request.body),
        };
        if let Some(announced) = request.header("x-amz-content-sha256")
            && announced != body_hash
        {
            return None;
        }
        let mut headers = String::new();
        for name in &self.authorization.signed_headers {
            let mut values = request.headers.get_all(name).iter().peekable();
            values.peek()?;
            let joined = values
                .map(|value| Some(collapse(value.to_str().ok()?)))
                .collect::<Option<Vec<_>>>()?
                .join(",");
            headers.push_str(&format!("{name}:{joined}\n"));
        }
        let path = if request.path.is_empty() {
            "/"
        } else {
            &request.path
        };
        Some(format!(
            "{}\n{}\n{}\n{headers}\n{}\n{body_hash}",
            request.method,
            encode(path, true),
            canonical_query(pairs),
            self.authorization.signed_headers.join(";"),
        ))
    }
}

/// The header that holds the time of a request, and the time in the basic form, as it is signed.
fn time_of(request: &SignedRequest) -> Option<(&'static str, String)> {
    if let Some(time) = request.header("x-amz-date") {
        return Some(("x-amz-date", time.to_owned()));
    }
    let date = request.header("date")?;
    let time = match timestamp::parse_http(date) {
        Some(us) => timestamp::basic(us),
        None => date.to_owned(),
    };
    Some(("date", time))
}

/// When the request was signed; the scope must name the same day.
fn signed_at(authorization: &Authorization, time: &str) -> Result<i64> {
    let signed_us = timestamp::parse_basic(time)
        .ok_or_else(|| incomplete("the time is not of the form 20150830T123600Z"))?;
    if time.get(..8) == Some(authorization.date.as_str()) {
        Ok(signed_us)
    } else {
        Err(mismatch())
    }
}

/// Trims and makes one blank of several.
fn collapse(text: &str) -> String {
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

fn sha256_hex(bytes: &[u8]) -> String {
    digest::digest(&digest::SHA256, bytes)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
