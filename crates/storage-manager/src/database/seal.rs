//! Encryption of secrets' values at rest.
//!
//! AES-256-GCM with a random 96-bit nonce per value; the secret's reference is authenticated with it, so that sealed values
//! cannot be swapped between rows. The key lives in a file of mode 0600 beside the database.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::Error;

/// Length of the key in bytes.
const KEY_BYTES: usize = 32;

/// Seals and opens the values of secrets.
pub struct Sealer {
    key: LessSafeKey,
    random: SystemRandom,
}

/// A sealed value does not open: another key, another row, or damaged bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct NotSealedHere;

impl Sealer {
    /// Reads the key file, or makes it when the database is new.
    ///
    /// # Durability
    /// A new key is on stable storage at return, before anything is sealed with it.
    pub fn open(path: &Path, first_start: bool) -> Result<Self, Error> {
        let file = |action, source| Error::File {
            action,
            path: path.to_owned(),
            source,
        };
        let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_BYTES + 1));
        match File::open(path) {
            Ok(key_file) => {
                key_file
                    .take(KEY_BYTES as u64 + 1)
                    .read_to_end(&mut bytes)
                    .map_err(|e| file("read key file", e))?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && first_start => {}
            Err(error) => return Err(file("open key file", error)),
        }
        // A first start that was killed between making the file and filling it leaves a short file that seals nothing yet.
        if bytes.len() != KEY_BYTES && first_start {
            bytes = Zeroizing::new(vec![0; KEY_BYTES]);
            SystemRandom::new()
                .fill(&mut bytes)
                .expect("the system's random source answers");
            let mut key_file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(path)
                .map_err(|e| file("create key file", e))?;
            key_file
                .write_all(&bytes)
                .and_then(|()| key_file.sync_all())
                .map_err(|e| file("write key file", e))?;
            if let Some(parent) = path.parent() {
                File::open(parent)
                    .and_then(|dir| dir.sync_all())
                    .map_err(|e| file("sync directory of", e))?;
            }
        }
        if bytes.len() != KEY_BYTES {
            return Err(Error::KeyFile {
                path: path.to_owned(),
                found: bytes.len(),
                expected: KEY_BYTES,
            });
        }
        let key =
            UnboundKey::new(&AES_256_GCM, &bytes).expect("the length is that of an AES-256 key");
        Ok(Sealer {
            key: LessSafeKey::new(key),
            random: SystemRandom::new(),
        })
    }

    /// Encrypts `clear` for the row of `reference`.
    pub fn seal(&self, reference: &str, clear: &str) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        self.random
            .fill(&mut nonce)
            .expect("the system's random source answers");
        let mut sealed = clear.as_bytes().to_vec();
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(reference.as_bytes()),
                &mut sealed,
            )
            .expect("a secret is shorter than the limit of AES-GCM");
        let mut row = nonce.to_vec();
        row.append(&mut sealed);
        row
    }

    /// Decrypts what [`Sealer::seal`] made for the same row.
    pub fn open_sealed(&self, reference: &str, row: &[u8]) -> Result<String, NotSealedHere> {
        let (nonce, sealed) = row.split_at_checked(NONCE_LEN).ok_or(NotSealedHere)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| NotSealedHere)?;
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let clear = self
            .key
            .open_in_place(nonce, Aad::from(reference.as_bytes()), &mut sealed)
            .map_err(|_| NotSealedHere)?;
        String::from_utf8(clear.to_vec()).map_err(|_| NotSealedHere)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn opens_what_it_sealed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let sealer = Sealer::open(&path, true).unwrap();
        let row = sealer.seal("OpaqueRef:1", "hunter2");
        assert!(!row.windows(7).any(|w| w == b"hunter2"));
        assert_eq!(
            sealer.open_sealed("OpaqueRef:1", &row),
            Ok("hunter2".to_owned())
        );
        assert_eq!(sealer.open_sealed("OpaqueRef:2", &row), Err(NotSealedHere));
        assert_eq!(
            sealer.open_sealed("OpaqueRef:1", &row[..5]),
            Err(NotSealedHere)
        );
        let again = Sealer::open(&path, false).unwrap();
        assert_eq!(
            again.open_sealed("OpaqueRef:1", &row),
            Ok("hunter2".to_owned())
        );
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn refuses_to_start_without_the_key_of_an_old_database() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        assert!(matches!(
            Sealer::open(&path, false),
            Err(Error::File { .. })
        ));
        std::fs::write(&path, b"short").unwrap();
        assert!(matches!(
            Sealer::open(&path, false),
            Err(Error::KeyFile { found: 5, .. })
        ));
    }
}
