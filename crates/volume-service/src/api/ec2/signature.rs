//! Who signed a request. Version 2 signs the parameters; version 4 signs the request, in a header or in the query.
//!
//! A version 4 signature is checked against whatever region and service its scope names: clients that were given only a
//! URL make a region up.

use bytes::Bytes;
use http::{HeaderMap, Method, header};

use super::fault::{Code, Ec2Fault, Result};
use super::parameters::Parameters;
use super::{signature_v2, signature_v4, words};
use crate::app::{Service, identity};
use crate::auth::policy::Policies;
use crate::config::Secret;
use crate::context::RequestContext;
use crate::error::ErrorKind;

pub use super::signature_v4::parse_authorization;

/// How far a client's clock may be off, in microseconds: fifteen minutes, as EC2 documents it.
pub(super) const SKEW_MAX_US: i64 = 15 * 60 * 1_000_000;
/// Longest life of a signed URL, in seconds: seven days.
pub(super) const LIFE_MAX_S: i64 = 604_800;

/// A request as it was signed.
pub(in crate::api) struct SignedRequest {
    pub(in crate::api) method: Method,
    /// The path as sent, percent-encoded.
    pub(in crate::api) path: String,
    /// The query as sent, without `?`.
    pub(in crate::api) query: String,
    pub(in crate::api) headers: HeaderMap,
    pub(in crate::api) body: Bytes,
    /// What stands for the SHA-256 of the body, where another service has it and not we, or nobody.
    pub(in crate::api) body_hash: Option<String>,
}

impl SignedRequest {
    /// A header's text.
    pub(in crate::api) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// What a request claims; not yet checked.
pub(super) enum Claim {
    /// Signature version 2.
    V2(signature_v2::Claim),
    /// Signature version 4.
    V4(signature_v4::Claim),
}

impl Claim {
    /// Finds the signature of a request and checks its time.
    pub(super) fn find(
        request: &SignedRequest,
        parameters: &Parameters,
        now_us: i64,
    ) -> Result<Claim> {
        if let Some(text) = request.header(header::AUTHORIZATION.as_str()) {
            return signature_v4::Claim::from_header(request, text, now_us).map(Claim::V4);
        }
        if parameters.get("X-Amz-Signature").is_some() {
            return signature_v4::Claim::from_query(parameters, now_us).map(Claim::V4);
        }
        if parameters.get("Signature").is_some() {
            return signature_v2::Claim::read(parameters, now_us).map(Claim::V2);
        }
        Err(Ec2Fault::coded(
            Code::AuthFailure,
            "The request must be signed with an access key.",
        ))
    }

    pub(super) fn access_key(&self) -> &str {
        match self {
            Claim::V2(claim) => &claim.access_key,
            Claim::V4(claim) => &claim.authorization.access_key,
        }
    }

    /// Compares in constant time.
    pub(super) fn matches(
        &self,
        secret: &Secret,
        request: &SignedRequest,
        parameters: &Parameters,
    ) -> bool {
        match self {
            Claim::V2(claim) => claim.matches(secret, request, parameters),
            Claim::V4(claim) => claim.matches(secret, request),
        }
    }
}

/// Finds out who signed a request.
pub(in crate::api) async fn authenticate(
    service: &Service,
    request: &SignedRequest,
    parameters: &Parameters,
) -> Result<RequestContext> {
    let claim = Claim::find(request, parameters, service.context.now_us())?;
    let session_token = parameters.get("SecurityToken").is_some()
        || parameters.get("X-Amz-Security-Token").is_some()
        || request.headers.contains_key("x-amz-security-token");
    if session_token {
        return Err(Ec2Fault::coded(
            Code::AuthFailure,
            "Temporary credentials with a session token are not supported.",
        ));
    }
    let unknown = || Ec2Fault::coded(Code::AuthFailure, words::CREDENTIALS);
    if let Some(source) = &service.token_source {
        let described =
            super::relayed::describe(request, parameters, &claim).ok_or_else(unknown)?;
        return match source.validate_signed(described).await {
            Ok(token) => context_of(token, &service.config.policies).ok_or_else(unknown),
            Err(error) if error.kind == ErrorKind::Unauthenticated => Err(unknown()),
            Err(error) => Err(error.into()),
        };
    }
    let (secret, context) = match identity::ec2_key(service, claim.access_key()).await {
        Ok(found) => found,
        Err(error)
            if matches!(
                error.kind,
                ErrorKind::Unauthenticated | ErrorKind::NotFound | ErrorKind::Invalid
            ) =>
        {
            return Err(unknown());
        }
        Err(error) => return Err(error.into()),
    };
    if claim.matches(&secret, request, parameters) {
        Ok(context)
    } else {
        Err(mismatch())
    }
}

/// Who acts with a token of a project.
fn context_of(token: identity::Token, policies: &Policies) -> Option<RequestContext> {
    let project = token.project?;
    Some(RequestContext::new("", token.user.id, project.id, token.roles).under(policies))
}

/// The refusal of a signature that does not fit.
pub(super) fn mismatch() -> Ec2Fault {
    Ec2Fault::coded(
        Code::SignatureDoesNotMatch,
        "The request signature we calculated does not match the signature you provided. Check your secret access key and signing method.",
    )
}

pub(super) fn incomplete(what: &str) -> Ec2Fault {
    Ec2Fault::coded(
        Code::IncompleteSignature,
        format!("The signature does not conform: {what}."),
    )
}

/// Refuses a time that is further away than clocks may be.
pub(super) fn check_skew(signed_us: i64, now_us: i64) -> Result<()> {
    if signed_us.abs_diff(now_us) <= SKEW_MAX_US.unsigned_abs() {
        Ok(())
    } else {
        Err(expired())
    }
}

pub(super) fn expired() -> Ec2Fault {
    Ec2Fault::coded(
        Code::RequestExpired,
        "Request has expired. Its time may be at most 15 minutes away from the server's.",
    )
}

/// Percent-encodes as both signature versions do: all but letters, digits, `-`, `_`, `.` and `~`.
pub(in crate::api) fn encode(text: &str, keep_slash: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(byte as char);
            }
            b'/' if keep_slash => out.push('/'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Name-value pairs encoded, sorted and joined, as both versions sign them.
pub(in crate::api) fn canonical_query<'a>(
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
) -> String {
    let mut encoded: Vec<String> = pairs
        .map(|(name, value)| format!("{}={}", encode(name, false), encode(value, false)))
        .collect();
    encoded.sort_by(|a, b| split(a).cmp(&split(b)));
    encoded.join("&")
}

fn split(pair: &str) -> (&str, &str) {
    pair.split_once('=').unwrap_or((pair, ""))
}
