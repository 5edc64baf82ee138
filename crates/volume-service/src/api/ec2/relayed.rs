//! Signed requests that another service received and asks about, in the JSON of OpenStack's `ec2tokens`.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Map, Value, json};

use super::parameters::Parameters;
use super::signature::{Claim, SignedRequest, canonical_query, parse_authorization};
use crate::config::Secret;

/// Most parameters, and most headers, of such a request.
const PARTS_MAX: usize = 256;

/// True when the described request is signed with the secret, by version 2 or 4, at a time that is not too far away.
pub(in crate::api) fn is_signed(described: &Value, secret: &Secret, now_us: i64) -> bool {
    read(described).is_some_and(|(request, parameters)| {
        let Ok(claim) = Claim::find(&request, &parameters, now_us) else {
            return false;
        };
        described["access"].as_str() == Some(claim.access_key())
            && claim.matches(secret, &request, &parameters)
    })
}

/// Describes a signed request for who knows the key's secret; none when a parameter is there twice. The description has room
/// for one of them, and another one than is judged might be obeyed.
pub(super) fn describe(
    request: &SignedRequest,
    parameters: &Parameters,
    claim: &Claim,
) -> Option<Value> {
    let is_version_2 = matches!(claim, Claim::V2(_));
    // Version 4 signs the query and the hash of the body, version 2 all parameters wherever they are.
    let of_query = match is_version_2 {
        true => None,
        false => Parameters::parse(&request.query, b"").ok(),
    };
    let pairs = of_query.as_ref().unwrap_or(parameters).pairs();
    let mut params: Map<String, Value> = pairs
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    if params.len() != pairs.len() {
        return None;
    }
    let in_params = params
        .remove("Signature")
        .or_else(|| params.remove("X-Amz-Signature"));
    let in_header = request.header("authorization").and_then(|text| {
        let (_, rest) = text.split_once("Signature=")?;
        rest.split(',')
            .next()
            .map(|signature| json!(signature.trim()))
    });
    let mut headers = Map::new();
    for name in request.headers.keys() {
        // Keystone looks for these two under these very names.
        let known = match name.as_str() {
            "authorization" => "Authorization",
            "x-amz-date" => "X-Amz-Date",
            other => other,
        };
        if let Some(text) = request.header(name.as_str()) {
            headers.insert(known.to_owned(), json!(text));
        }
    }
    // Keystone reads no `Date`; of the headers it hashes the signed ones only, so that one more does no harm.
    if let (Claim::V4(claim), None) = (claim, params.get("X-Amz-Date")) {
        let date = headers.entry("X-Amz-Date");
        date.or_insert_with(|| json!(claim.time()));
    }
    let hash = request.body_hash.clone().unwrap_or_else(|| {
        let hash = ring::digest::digest(&ring::digest::SHA256, &request.body);
        let digits = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
        digits.collect()
    });
    Some(json!({
        "access": claim.access_key(),
        "signature": in_header.or(in_params),
        "verb": request.method.as_str(),
        "host": request.header("host"),
        "path": request.path,
        "params": params,
        "headers": headers,
        "body_hash": hash,
    }))
}

fn read(described: &Value) -> Option<(SignedRequest, Parameters)> {
    let text = |key: &str| described[key].as_str();
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    if let Some(params) = described["params"].as_object() {
        for (name, value) in params.iter().take(PARTS_MAX) {
            pairs.push((name, value.as_str()?));
        }
    }
    let mut headers = HeaderMap::new();
    if let Some(given) = described["headers"].as_object() {
        for (name, value) in given.iter().take(PARTS_MAX) {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            headers.insert(name, HeaderValue::from_str(value.as_str()?).ok()?);
        }
    }
    // Who relays a request that is signed with `Date` says the same again for those who do not read that.
    let is_signed = |name: &str| {
        let text = headers.get("authorization")?.to_str().ok()?;
        let authorization = parse_authorization(text)?;
        let mut signed = authorization.signed_headers.iter();
        Some(signed.any(|signed| signed == name))
    };
    if is_signed("date") == Some(true) && is_signed("x-amz-date") == Some(false) {
        headers.remove("x-amz-date");
    }
    if !headers.contains_key("host") {
        headers.insert("host", HeaderValue::from_str(text("host")?).ok()?);
    }
    let is_version_2 = !headers.contains_key("authorization")
        && !pairs.iter().any(|(name, _)| name.starts_with("X-Amz-"));
    if is_version_2 && !pairs.iter().any(|(name, _)| *name == "Signature") {
        // Who relays a request takes the signature out of its parameters.
        pairs.push(("Signature", text("signature")?));
    }
    let query = canonical_query(pairs.into_iter());
    let parameters = Parameters::parse(&query, b"").ok()?;
    let body_hash = text("body_hash")
        .filter(|hash| {
            let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_hash || *hash == "UNSIGNED-PAYLOAD"
        })
        .map(str::to_owned);
    let request = SignedRequest {
        method: Method::from_bytes(text("verb")?.as_bytes()).ok()?,
        path: text("path")?.to_owned(),
        query,
        headers,
        body: Bytes::new(),
        body_hash,
    };
    Some((request, parameters))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_that_is_there_twice_is_not_relayed() {
        let described = |query: &str| {
            let parameters = Parameters::parse(query, b"").unwrap();
            let request = SignedRequest {
                method: Method::GET,
                path: "/".to_owned(),
                query: query.to_owned(),
                headers: HeaderMap::new(),
                body: Bytes::new(),
                body_hash: None,
            };
            let now_us = crate::api::timestamp::parse_iso("2015-08-30T12:36:00Z").unwrap();
            let claim = Claim::find(&request, &parameters, now_us).ok().unwrap();
            describe(&request, &parameters, &claim)
        };
        let signed = "AWSAccessKeyId=AKID&Action=DeleteVolume&VolumeId=vol-2&SignatureVersion=2\
                      &SignatureMethod=HmacSHA256&Timestamp=2015-08-30T12%3A36%3A00Z&Signature=c2lnbmVk";
        let whole = described(signed).unwrap();
        assert_eq!(whole["params"]["VolumeId"], "vol-2");
        // The smaller value would be obeyed, and the larger one, which somebody signed, be judged.
        assert!(described(&format!("{signed}&VolumeId=vol-1")).is_none());
    }

    /// The request of the signature tests that is signed with the header `Date`.
    #[test]
    fn keystone_reads_when_a_request_with_the_date_of_http_was_signed() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "example.amazonaws.com"),
            ("date", "Sun, 30 Aug 2015 12:36:00 GMT"),
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=date;host, \
                 Signature=1262aceaf1a79c7f0b69fda81cd744572fcbe2e4c23b647b4de183cd5a0f1075",
            ),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let request = SignedRequest {
            method: Method::GET,
            path: "/".to_owned(),
            query: String::new(),
            headers,
            body: Bytes::new(),
            body_hash: None,
        };
        let now_us = crate::api::timestamp::parse_iso("2015-08-30T12:36:00Z").unwrap();
        let parameters = Parameters::default();
        let claim = Claim::find(&request, &parameters, now_us).ok().unwrap();
        let described = describe(&request, &parameters, &claim).unwrap();
        assert_eq!(described["headers"]["X-Amz-Date"], "20150830T123600Z");
        let secret = Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        assert!(is_signed(&described, &secret, now_us));
        assert!(!is_signed(&described, &Secret::new("other"), now_us));
    }
}
