//! Tokens: what they say, signed, in one short text. Nothing is stored when one is issued.
//!
//! Layout, before base64url without padding (154 characters): version 1, methods (one bit each), audit id 16, user 16,
//! project 16 (zero: unscoped), application credential 16 (zero: none), issued 8, expires 8 (big-endian microseconds since
//! 1970), then HMAC-SHA256 over all of that, 32 bytes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::hmac;

use super::vault::derive;
use crate::config::{MasterKey, Secret};

const VERSION: u8 = 1;
const BODY: usize = 82;
const WHOLE: usize = BODY + 32;

/// The ways to have proved who one is, by their bit.
const METHODS: [(u8, &str); 4] = [
    (1, "password"),
    (2, "application_credential"),
    (4, "token"),
    (8, "ec2credential"),
];

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Names the token in logs and in revocation.
    pub audit_id: [u8; 16],
    /// The user's id.
    pub user: [u8; 16],
    /// The project's id, unless unscoped.
    pub project: Option<[u8; 16]>,
    /// The application credential that it was issued for.
    pub application_credential: Option<[u8; 16]>,
    /// `password`, `application_credential`, `token`, `ec2credential`.
    pub methods: Vec<&'static str>,
    /// Microseconds since 1970.
    pub issued_at_us: i64,
    /// Microseconds since 1970.
    pub expires_at_us: i64,
}

/// Signs and reads tokens.
pub struct Signer {
    key: hmac::Key,
}

impl Signer {
    /// Derives the signing key.
    pub fn new(master: &MasterKey) -> Self {
        let key = derive(master, b"xensm token signature, 1");
        Signer {
            key: hmac::Key::new(hmac::HMAC_SHA256, &key[..]),
        }
    }

    /// The text of a token.
    pub fn sign(&self, claims: &Claims) -> Secret {
        let methods = METHODS
            .iter()
            .filter(|(_, name)| claims.methods.contains(name))
            .fold(0, |bits, (bit, _)| bits | bit);
        let mut bytes = Vec::with_capacity(WHOLE);
        bytes.extend([VERSION, methods]);
        bytes.extend(claims.audit_id);
        bytes.extend(claims.user);
        bytes.extend(claims.project.unwrap_or_default());
        bytes.extend(claims.application_credential.unwrap_or_default());
        bytes.extend(claims.issued_at_us.to_be_bytes());
        bytes.extend(claims.expires_at_us.to_be_bytes());
        debug_assert_eq!(bytes.len(), BODY);
        let tag = hmac::sign(&self.key, &bytes);
        bytes.extend_from_slice(tag.as_ref());
        Secret::new(BASE64.encode(bytes))
    }

    /// What a token says, when the signature is ours; compared in constant time.
    pub fn read(&self, text: &Secret) -> Option<Claims> {
        let bytes = BASE64.decode(text.expose()).ok()?;
        let bytes: [u8; WHOLE] = bytes.try_into().ok()?;
        let (body, tag) = bytes.split_at(BODY);
        hmac::verify(&self.key, body, tag).ok()?;
        let ([VERSION, methods], rest) = body.split_first_chunk()? else {
            return None;
        };
        let (ids, times) = rest.as_chunks::<16>();
        let [audit_id, user, project, application_credential, both_times] = *ids else {
            return None;
        };
        debug_assert!(times.is_empty());
        let (issued, expires) = both_times.split_at(8);
        let some = |id: [u8; 16]| (id != [0; 16]).then_some(id);
        Some(Claims {
            audit_id,
            user,
            project: some(project),
            application_credential: some(application_credential),
            methods: METHODS
                .iter()
                .filter(|(bit, _)| methods & bit != 0)
                .map(|(_, name)| *name)
                .collect(),
            issued_at_us: i64::from_be_bytes(issued.try_into().ok()?),
            expires_at_us: i64::from_be_bytes(expires.try_into().ok()?),
        })
    }
}

/// The 16 bytes of an id of 32 hex digits.
pub fn id_bytes(id: &str) -> Option<[u8; 16]> {
    uuid::Uuid::try_parse(id).ok().map(uuid::Uuid::into_bytes)
}

/// The 32 hex digits of 16 bytes.
pub fn id_text(bytes: [u8; 16]) -> String {
    uuid::Uuid::from_bytes(bytes).simple().to_string()
}

/// An audit id as clients see it.
pub fn audit_text(bytes: [u8; 16]) -> String {
    BASE64.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(byte: u8) -> Signer {
        Signer::new(&MasterKey(zeroize::Zeroizing::new([byte; 32])))
    }

    fn claims() -> Claims {
        Claims {
            audit_id: [1; 16],
            user: [2; 16],
            project: Some([3; 16]),
            application_credential: None,
            methods: vec!["password", "token"],
            issued_at_us: 5,
            expires_at_us: i64::MAX,
        }
    }

    #[test]
    fn a_token_says_what_was_signed() {
        let text = signer(1).sign(&claims());
        assert!(
            text.expose().len() <= 255,
            "{} characters",
            text.expose().len()
        );
        assert_eq!(signer(1).read(&text), Some(claims()));
        let unscoped = Claims {
            project: None,
            application_credential: Some([9; 16]),
            methods: vec!["application_credential"],
            ..claims()
        };
        assert_eq!(signer(1).read(&signer(1).sign(&unscoped)), Some(unscoped));
    }

    #[test]
    fn a_changed_token_is_refused() {
        let text = signer(1).sign(&claims());
        assert_eq!(signer(2).read(&text), None, "another key");
        for at in 0..text.expose().len() {
            let mut changed = text.expose().as_bytes().to_vec();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = Secret::new(String::from_utf8(changed).unwrap());
            assert_eq!(signer(1).read(&changed), None, "character {at}");
        }
        for bad in ["", "AAAA", "not base64 at all!", &text.expose()[1..]] {
            assert_eq!(signer(1).read(&Secret::new(bad)), None);
        }
    }
}
