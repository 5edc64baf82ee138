//! GetCallerIdentity of another service of AWS, the Security Token Service, on the same listener: many tools ask who they are
//! before they do anything.
//!
//! Its answers and faults have forms of their own.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};

use super::super::request::RequestId;
use super::fault::{Code, Ec2Fault, OK, Result};
use super::parameters::Parameters;
use super::words;
use super::xml::escape;
use crate::context::RequestContext;

/// The only action that is built; EC2 has none of this name.
const ACTION: &str = "GetCallerIdentity";
/// The only version that there is.
const VERSION: &str = "2011-06-15";

/// True for a request to this service.
pub(super) fn is_asked(parameters: &Parameters) -> bool {
    parameters.get("Action") == Some(ACTION)
}

/// Says who signed a request. The account is the project.
pub(super) fn caller_identity(
    context: &RequestContext,
    parameters: &Parameters,
    id: &RequestId,
) -> Result<Response> {
    super::schema::check_names(&[], parameters)?;
    let version = parameters.arguments().text("Version").unwrap_or(VERSION);
    if version != VERSION {
        let words = format!(
            "The requested version ({}) of service AWSSecurityTokenService does not exist",
            words::shown(version)
        );
        return Err(Ec2Fault::coded(Code::NoSuchVersion, words));
    }
    let (account, user) = (escape(&context.project_id), escape(&context.user_id));
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{ACTION}Response xmlns=\"https://sts.amazonaws.com/doc/{VERSION}/\">\
         <{ACTION}Result><Arn>arn:aws:iam::{account}:user/{user}</Arn><UserId>{user}</UserId><Account>{account}</Account>\
         </{ACTION}Result><ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata></{ACTION}Response>",
        id.uuid()
    );
    let mut response = (OK, body).into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    Ok(response)
}

/// A refusal in this service's clothes.
pub(super) fn refused(fault: Ec2Fault, id: &RequestId) -> Response {
    fault.worded(|word, message| {
        format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/{VERSION}/\"><Error><Type>Sender</Type><Code>{word}</Code>\
             <Message>{message}</Message></Error><RequestId>{}</RequestId></ErrorResponse>",
            id.uuid()
        )
    })
}
