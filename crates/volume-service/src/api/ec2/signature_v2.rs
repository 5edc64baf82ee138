//! Signature version 2: the parameters, sorted, under HMAC-SHA256 or HMAC-SHA1.
//!
//! Source: AWS General Reference, "Signature Version 2 signing process".

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use super::super::timestamp;
use super::fault::Result;
use super::parameters::Parameters;
use super::signature::{
    LIFE_MAX_S, SKEW_MAX_US, SignedRequest, canonical_query, check_skew, expired, incomplete,
};
use crate::config::Secret;

/// What the parameters claim; not yet checked.
pub(super) struct Claim {
    pub(super) access_key: String,
    algorithm: hmac::Algorithm,
    signature: Vec<u8>,
}

impl Claim {
    /// Reads the signature's parameters and checks its time.
    pub(super) fn read(parameters: &Parameters, now_us: i64) -> Result<Self> {
        let get = |name: &str| {
            parameters
                .get(name)
                .ok_or_else(|| incomplete(&format!("{name} is missing")))
        };
        if get("SignatureVersion")? != "2" {
            return Err(incomplete("SignatureVersion must be 2"));
        }
        let algorithm = match get("SignatureMethod")? {
            "HmacSHA256" => hmac::HMAC_SHA256,
            "HmacSHA1" => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            _ => return Err(incomplete("SignatureMethod must be HmacSHA256 or HmacSHA1")),
        };
        let time = |name: &str| {
            timestamp::parse_iso(get(name)?)
                .ok_or_else(|| incomplete(&format!("{name} is not an ISO 8601 time")))
        };
        if parameters.get("Timestamp").is_some() {
            check_skew(time("Timestamp")?, now_us)?;
        } else {
            check_life(time("Expires")?, now_us)?;
        }
        let signature = STANDARD
            .decode(get("Signature")?)
            .map_err(|_| incomplete("Signature is not base64"))?;
        Ok(Claim {
            access_key: get("AWSAccessKeyId")?.to_owned(),
            algorithm,
            signature,
        })
    }

    /// Compares in constant time; the host is tried as sent and without its port, because clients differ.
    pub(super) fn matches(
        &self,
        secret: &Secret,
        request: &SignedRequest,
        parameters: &Parameters,
    ) -> bool {
        let host = request.header("host").unwrap_or_default().to_lowercase();
        let bare = host
            .rsplit_once(':')
            .map_or(host.as_str(), |(name, _)| name);
        let key = hmac::Key::new(self.algorithm, secret.expose().as_bytes());
        [host.as_str(), bare].iter().any(|host| {
            let text = string_to_sign(request, host, parameters);
            hmac::verify(&key, text.as_bytes(), &self.signature).is_ok()
        })
    }
}

/// A request that names its end is good until then, and that is not far away: it could be sent again as long.
fn check_life(expires_us: i64, now_us: i64) -> Result<()> {
    if expires_us < now_us {
        return Err(expired());
    }
    let latest_us = now_us
        .saturating_add(LIFE_MAX_S * 1_000_000)
        .saturating_add(SKEW_MAX_US);
    if expires_us > latest_us {
        return Err(incomplete("Expires may be at most 7 days away"));
    }
    Ok(())
}

fn string_to_sign(request: &SignedRequest, host: &str, parameters: &Parameters) -> String {
    let pairs = parameters
        .pairs()
        .iter()
        .filter(|(name, _)| name != "Signature")
        .map(|(name, value)| (name.as_str(), value.as_str()));
    format!(
        "{}\n{host}\n{}\n{}",
        request.method,
        if request.path.is_empty() {
            "/"
        } else {
            &request.path
        },
        canonical_query(pairs)
    )
}
