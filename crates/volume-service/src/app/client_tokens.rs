//! Client tokens of EC2: the same token from the same project with the same parameters is the same request, and makes nothing anew.

use base64::Engine as _;

use crate::db::Transaction;
use crate::db::client_tokens::{self, ClientToken, Replay};
use crate::error::{Error, ErrorKind, Result, Subject};

/// A token with the parameters that it came with, as one line of JSON.
pub(super) fn client_token(
    action: &'static str,
    token: &str,
    parameters: &serde_json::Value,
) -> ClientToken {
    let digest = ring::digest::digest(&ring::digest::SHA256, parameters.to_string().as_bytes());
    ClientToken {
        action,
        token: token.to_owned(),
        digest: base64::engine::general_purpose::STANDARD.encode(digest),
    }
}

/// What the same request made before; none when it is the first one, whose token the caller remembers once nothing but the quota can
/// refuse it.
///
/// # Errors
/// `Conflict` (subject `Request`, object the token) when the token came with other parameters.
pub(super) fn made_before(
    tx: &mut Transaction<'_>,
    project_id: &str,
    client: &ClientToken,
) -> Result<Option<String>> {
    match client_tokens::replay(tx, project_id, client)? {
        Replay::New => Ok(None),
        Replay::Same(target) => Ok(Some(target)),
        Replay::Other => Err(mismatch(
            client,
            "Parameters on this idempotent request are inconsistent with parameters used in previous request(s).",
        )),
    }
}

/// The refusal of a request that is the same as one whose result is gone; `ec2_id` names that.
pub(super) fn gone(client: &ClientToken, ec2_id: &str) -> Error {
    let token = &client.token;
    mismatch(
        client,
        &format!(
            "The client token '{token}' is associated with resource '{ec2_id}' which has already been deleted. Please use a \
             different client token."
        ),
    )
}

fn mismatch(client: &ClientToken, words: &str) -> Error {
    Error::new(ErrorKind::Conflict, Subject::Request, words).on(client.token.clone())
}
