//! Each vector names where it comes from; each is also tried with one byte changed.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::api::ec2::fault::Code;
use crate::api::ec2::parameters::Parameters;
use crate::api::ec2::signature::{Claim, SignedRequest, parse_authorization};
use crate::api::timestamp;
use crate::config::Secret;

const V4_SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const NOW: &str = "20150830T123600Z";
const FORM: &str = "Action=CreateVolume&Version=2016-11-15&Size=8&AvailabilityZone=nova&TagSpecification.1.ResourceType=volume&TagSpecification.1.Tag.1.Key=N%C3%A4me&TagSpecification.1.Tag.1.Value=a+b%2Fc~";
const FORM_TYPE: &str = "application/x-www-form-urlencoded; charset=utf-8";

fn request(method: &str, uri: &str, headers: &[(&str, &str)], body: &str) -> SignedRequest {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(
            HeaderName::from_bytes(name.as_bytes()).expect("a header name"),
            HeaderValue::from_str(value).expect("a header value"),
        );
    }
    SignedRequest {
        method: Method::from_bytes(method.as_bytes()).expect("a method"),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: map,
        body: Bytes::copy_from_slice(body.as_bytes()),
        body_hash: None,
    }
}

fn parameters(request: &SignedRequest) -> Parameters {
    Parameters::parse(&request.query, &request.body).expect("good parameters")
}

fn check(request: &SignedRequest, secret: &str, now: &str) -> Result<bool, Code> {
    let parameters = parameters(request);
    let now_us = timestamp::parse_basic(now).expect("a time");
    let claim = Claim::find(request, &parameters, now_us).map_err(|fault| fault.code())?;
    Ok(claim.matches(&Secret::new(secret), request, &parameters))
}

fn authorization(scope: &str, headers: &str, signature: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/{scope}/aws4_request, SignedHeaders={headers}, Signature={signature}"
    )
}

/// `get-vanilla` of the AWS signature version 4 test suite.
#[test]
fn version_4_of_the_test_suite() {
    let text = authorization(
        "us-east-1/service",
        "host;x-amz-date",
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    );
    let headers = [
        ("host", "example.amazonaws.com"),
        ("x-amz-date", NOW),
        ("authorization", text.as_str()),
    ];
    assert_eq!(
        check(&request("GET", "/", &headers, ""), V4_SECRET, NOW),
        Ok(true)
    );
    assert_eq!(
        check(&request("GET", "/x", &headers, ""), V4_SECRET, NOW),
        Ok(false)
    );
    assert_eq!(
        check(&request("GET", "/?a", &headers, ""), V4_SECRET, NOW),
        Ok(false)
    );
    assert_eq!(
        check(&request("GET", "/", &headers, "x"), V4_SECRET, NOW),
        Ok(false)
    );
    assert_eq!(
        check(&request("GET", "/", &headers, ""), "other", NOW),
        Ok(false)
    );
}

/// The same request with the header `Date` instead, signed by the published method.
#[test]
fn version_4_with_the_date_of_http() {
    let text = authorization(
        "us-east-1/service",
        "date;host",
        "1262aceaf1a79c7f0b69fda81cd744572fcbe2e4c23b647b4de183cd5a0f1075",
    );
    let date = "Sun, 30 Aug 2015 12:36:00 GMT";
    let headers = [
        ("host", "example.amazonaws.com"),
        ("date", date),
        ("authorization", text.as_str()),
    ];
    let signed = request("GET", "/", &headers, "");
    assert_eq!(check(&signed, V4_SECRET, NOW), Ok(true));
    let late = check(&signed, V4_SECRET, "20150830T125101Z");
    assert_eq!(late, Err(Code::RequestExpired));
    let unsigned = authorization("us-east-1/service", "host", &"0".repeat(64));
    let headers = [headers[0], headers[1], ("authorization", unsigned.as_str())];
    let refused = check(&request("GET", "/", &headers, ""), V4_SECRET, NOW);
    assert_eq!(refused, Err(Code::IncompleteSignature));
}

/// The signing example of the AWS General Reference (IAM, ListUsers).
#[test]
fn version_4_of_the_general_reference() {
    let text = authorization(
        "us-east-1/iam",
        "content-type;host;x-amz-date",
        "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
    );
    let headers = [
        ("content-type", FORM_TYPE),
        ("host", "iam.amazonaws.com"),
        ("x-amz-date", NOW),
        ("authorization", text.as_str()),
    ];
    let uri = "/?Action=ListUsers&Version=2010-05-08";
    assert_eq!(
        check(&request("GET", uri, &headers, ""), V4_SECRET, NOW),
        Ok(true)
    );
}

fn botocore_post(path: &str, signature: &str, body: &str) -> SignedRequest {
    let text = authorization("us-east-1/ec2", "content-type;host;x-amz-date", signature);
    let headers = [
        ("content-type", FORM_TYPE),
        ("host", "127.0.0.1:8773"),
        ("x-amz-date", NOW),
        ("authorization", text.as_str()),
    ];
    request("POST", path, &headers, body)
}

#[test]
fn version_4_of_botocore_in_a_header() {
    let root = "5a112d1110dda59376f2f7cf13615b6bf087995d58c95cfd77337948278a4fbe";
    let cloud = "9e256268076fe60cdf34ff40b2a000bf13b1f680c4b76ef3bbc1f913a122c674";
    assert_eq!(
        check(&botocore_post("/", root, FORM), V4_SECRET, NOW),
        Ok(true)
    );
    let old_path = botocore_post("/services/Cloud", cloud, FORM);
    assert_eq!(check(&old_path, V4_SECRET, NOW), Ok(true));
    assert_eq!(
        check(&botocore_post("/", cloud, FORM), V4_SECRET, NOW),
        Ok(false)
    );
    let larger = FORM.replace("Size=8", "Size=9");
    assert_eq!(
        check(&botocore_post("/", root, &larger), V4_SECRET, NOW),
        Ok(false)
    );
}

#[test]
fn version_4_of_botocore_in_the_query() {
    let uri = "/?Action=DescribeVolumes&Version=2016-11-15&Filter.1.Name=tag%3Aa%20b&Filter.1.Value.1=%2A&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fec2%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-Expires=300&X-Amz-SignedHeaders=host&X-Amz-Signature=cf9c66097bf44781c211b4ba26d8cf4e31b32f2befc7e8c0ccbc85c893181e4b";
    let signed = |uri: &str| request("GET", uri, &[("host", "127.0.0.1:8773")], "");
    assert_eq!(check(&signed(uri), V4_SECRET, NOW), Ok(true));
    assert_eq!(check(&signed(uri), V4_SECRET, "20150830T124059Z"), Ok(true));
    let late = check(&signed(uri), V4_SECRET, "20150830T124101Z");
    assert_eq!(late, Err(Code::RequestExpired));
    let early = check(&signed(uri), V4_SECRET, "20150830T122059Z");
    assert_eq!(early, Err(Code::RequestExpired));
    let other = uri.replace("DescribeVolumes", "DeleteVolume");
    assert_eq!(check(&signed(&other), V4_SECRET, NOW), Ok(false));
    let longer = uri.replace("Expires=300", "Expires=604801");
    assert_eq!(
        check(&signed(&longer), V4_SECRET, NOW),
        Err(Code::IncompleteSignature)
    );
}

/// The example of the AWS General Reference (Elastic MapReduce, DescribeJobFlows).
#[test]
fn version_2_of_the_general_reference() {
    let uri = "/?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Action=DescribeJobFlows&SignatureMethod=HmacSHA256&SignatureVersion=2&Timestamp=2011-10-03T15%3A19%3A30&Version=2009-03-31&Signature=i91nKc4PWAt0JJIdXwz9HxZCJDdiy6cf%2FMj6vPxyYIs%3D";
    let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    let signed = |uri: &str| {
        request(
            "GET",
            uri,
            &[("host", "elasticmapreduce.amazonaws.com")],
            "",
        )
    };
    let now = "20111003T152000Z";
    assert_eq!(check(&signed(uri), secret, now), Ok(true));
    assert_eq!(check(&signed(uri), "other", now), Ok(false));
    let late = check(&signed(uri), secret, "20111003T153431Z");
    assert_eq!(late, Err(Code::RequestExpired));
}

#[test]
fn version_2_with_an_end_that_is_near() {
    let at = |expires: &str| {
        let uri = format!(
            "/?AWSAccessKeyId=A&Action=X&SignatureMethod=HmacSHA256&SignatureVersion=2&Expires={expires}&Signature=AAAA"
        );
        check(&request("GET", &uri, &[("host", "x")], ""), V4_SECRET, NOW)
    };
    assert_eq!(at("2015-08-30T12%3A36%3A00Z"), Ok(false));
    assert_eq!(at("2015-09-06T12%3A36%3A00Z"), Ok(false));
    assert_eq!(at("2015-08-30T12%3A35%3A59Z"), Err(Code::RequestExpired));
    assert_eq!(
        at("2015-09-06T12%3A51%3A01Z"),
        Err(Code::IncompleteSignature)
    );
}

#[test]
fn version_2_of_botocore() {
    let form = "Action=DescribeVolumes&Version=2010-08-31&Filter.1.Name=size&VolumeId.1=vol-00000001&AWSAccessKeyId=AKIDEXAMPLE&SignatureVersion=2&SignatureMethod=HmacSHA256&Timestamp=2015-08-30T12%3A36%3A00Z&Signature=pkhauCGYyyT0lXGRQ2hJ6vhQkscVfssPdCigbLphd%2Bo%3D";
    let post = |host: &str, form: &str| request("POST", "/services/Cloud", &[("host", host)], form);
    let host = "ec2.example.com:8773";
    let found = check(&post(host, form), V4_SECRET, NOW);
    assert_eq!(found, Ok(true));
    let other = form.replace("vol-00000001", "vol-00000002");
    assert_eq!(check(&post(host, &other), V4_SECRET, NOW), Ok(false));
    assert_eq!(check(&post("elsewhere", form), V4_SECRET, NOW), Ok(false));
}

#[test]
fn refuses_what_is_not_signed_as_it_must_be() {
    let code = |headers: &[(&str, &str)], uri: &str| {
        check(&request("GET", uri, headers, ""), V4_SECRET, NOW).expect_err("a refusal")
    };
    assert_eq!(code(&[], "/?Action=X"), Code::AuthFailure);
    assert_eq!(
        code(&[("authorization", "Basic xyz")], "/"),
        Code::IncompleteSignature
    );
    let sums = "0".repeat(64);
    let unsigned_host = authorization("r/s", "x-amz-date", &sums);
    let headers = [
        ("authorization", unsigned_host.as_str()),
        ("x-amz-date", NOW),
    ];
    assert_eq!(code(&headers, "/"), Code::IncompleteSignature);
    let good = authorization("r/s", "host;x-amz-date", &sums);
    let at = |time| [("authorization", good.as_str()), ("x-amz-date", time)];
    assert_eq!(code(&at("20150830T122059Z"), "/"), Code::RequestExpired);
    assert_eq!(
        code(&at("20150829T123600Z"), "/"),
        Code::SignatureDoesNotMatch
    );
    assert_eq!(code(&at("yesterday"), "/"), Code::IncompleteSignature);
    let version_1 = "/?Signature=x&SignatureVersion=1&SignatureMethod=HmacSHA1";
    assert_eq!(code(&[], version_1), Code::IncompleteSignature);
}

#[test]
fn takes_authorization_headers_apart() {
    let sums = "ab".repeat(32);
    let found = parse_authorization(&authorization(
        "undefined-4711/ec2",
        "host;X-Amz-Date",
        &sums,
    ))
    .expect("a good header");
    assert_eq!(found.access_key, "AKIDEXAMPLE");
    assert_eq!(found.region, "undefined-4711");
    assert_eq!(found.signed_headers, ["host", "x-amz-date"]);
    assert_eq!(found.signature, [0xab; 32]);
    for bad in [
        "",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request",
        "AWS4-HMAC-SHA256 Credential=a/b/aws4_request, SignedHeaders=host, Signature=00",
        "AWS3 Credential=x",
    ] {
        assert_eq!(parse_authorization(bad), None, "{bad}");
    }
    let short = authorization("r/s", "host", "\u{e9}0");
    assert_eq!(parse_authorization(&short), None);
}
