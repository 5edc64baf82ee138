//! Secrets at rest: sealed with a key that is derived from the master key.
//!
//! Layout of a sealed blob: one version byte (1), a random 12-byte nonce, then AES-256-GCM ciphertext and tag. What the secret
//! belongs to is bound as associated data, so that a blob moved to another row does not open.

use std::sync::Arc;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf;
use zeroize::Zeroizing;

use crate::config::MasterKey;
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result, Subject};

const VERSION: u8 = 1;

/// Seals and opens secrets; cheap to clone.
#[derive(Clone)]
pub struct Vault {
    key: Arc<LessSafeKey>,
    context: Context,
}

impl Vault {
    /// Derives the sealing key.
    pub fn new(context: Context, master: &MasterKey) -> Self {
        let key = derive(master, b"xensm secrets at rest, 1");
        let key = UnboundKey::new(&AES_256_GCM, &key[..]).expect("an AES-256 key has 32 bytes");
        Vault {
            key: Arc::new(LessSafeKey::new(key)),
            context,
        }
    }

    /// Seals a secret for what `belongs_to` names.
    pub fn seal(&self, belongs_to: &str, secret: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = self.context.random_bytes();
        let mut text = Zeroizing::new(secret.to_vec());
        let tag = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(belongs_to),
                &mut text,
            )
            .expect("a secret is far shorter than the limit of AES-GCM");
        let mut sealed = vec![VERSION];
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&text);
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// Opens what `seal` made.
    ///
    /// # Errors
    /// `Internal` when the blob is damaged, belongs to something else, or was sealed under another master key.
    pub fn open(&self, belongs_to: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let refused = |detail: &str| {
            Error::new(
                ErrorKind::Internal,
                Subject::Database,
                "A stored secret cannot be read.",
            )
            .on(belongs_to)
            .detail(format!("open the sealed secret of {belongs_to}: {detail}"))
        };
        let Some((&VERSION, rest)) = sealed.split_first() else {
            return Err(refused("unknown layout version"));
        };
        let Some((nonce, text)) = rest.split_first_chunk::<NONCE_LEN>() else {
            return Err(refused("it is too short"));
        };
        let mut text = Zeroizing::new(text.to_vec());
        let length = self
            .key
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(belongs_to),
                &mut text,
            )
            .map_err(|_| refused("it is damaged or was sealed under another master key"))?
            .len();
        text.truncate(length);
        Ok(text)
    }
}

/// A 32-byte key for one purpose (HKDF-SHA256).
pub(crate) fn derive(master: &MasterKey, purpose: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, b"xensm")
        .extract(&master.0[..])
        .expand(&[purpose], hkdf::HKDF_SHA256)
        .and_then(|material| material.fill(&mut key[..]))
        .expect("HKDF-SHA256 gives 32 bytes");
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(byte: u8) -> Vault {
        Vault::new(Context::real(), &MasterKey(Zeroizing::new([byte; 32])))
    }

    #[test]
    fn a_sealed_secret_opens_for_its_owner_only() {
        let vault = vault(1);
        let sealed = vault.seal("backend:1", b"open sesame");
        assert_eq!(
            &vault.open("backend:1", &sealed).unwrap()[..],
            b"open sesame"
        );
        assert!(vault.open("backend:2", &sealed).is_err());
        assert!(!sealed.windows(4).any(|part| part == b"open"));
        assert_ne!(
            sealed,
            vault.seal("backend:1", b"open sesame"),
            "a nonce is never used twice"
        );
    }

    #[test]
    fn damage_and_another_master_key_are_refused() {
        let sealed = vault(1).seal("backend:1", b"open sesame");
        assert!(vault(2).open("backend:1", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert!(vault(1).open("backend:1", &damaged).is_err(), "byte {at}");
        }
        for length in 0..sealed.len() {
            assert!(vault(1).open("backend:1", &sealed[..length]).is_err());
        }
    }
}
