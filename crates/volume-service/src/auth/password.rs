//! Passwords at rest: PBKDF2-HMAC-SHA256 with a stored iteration count.
//!
//! Form of a hash: `pbkdf2-sha256$<iterations>$<salt>$<hash>`, both parts in base64. A password that was verified a moment
//! ago is remembered as a keyed hash, so that clients which log in for every command cost little.

use std::num::NonZeroU32;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use ring::{hmac, pbkdf2};
use tokio::sync::Semaphore;

use super::recent::Recent;
use crate::config::Secret;
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result, Subject};

/// Iterations for passwords that people choose (OWASP's figure for PBKDF2-HMAC-SHA256).
pub const CHOSEN: NonZeroU32 = NonZeroU32::new(600_000).expect("not zero");
/// Iterations for secrets that we draw from 128 or more random bits: nobody can try them all, so slowness adds nothing.
pub const RANDOM: NonZeroU32 = NonZeroU32::new(1).expect("not zero");
/// Most iterations that a stored hash may ask for.
const ITERATIONS_MAX: u32 = 10_000_000;
/// Slow hashes computed at a time; more wait.
const AT_A_TIME: usize = 2;
/// Slow hashes that may wait; more are refused, so that strangers who try passwords queue up seconds of work and not minutes.
const WAITING_MAX: usize = 32;
/// Most iterations of a hash that is computed at once, without waiting for a place.
const QUICK_MAX: u32 = 1000;
/// Longest password, in bytes.
const PASSWORD_MAX_BYTES: usize = 4096;
/// Verified passwords that are remembered at most.
const REMEMBERED_MAX: usize = 1024;
/// How long.
const REMEMBERED_FOR_US: i64 = 5 * 60 * 1_000_000;

/// Hashes and verifies passwords.
pub struct Passwords {
    places: Arc<Semaphore>,
    /// One permit per slow hash that is computed or waits.
    queue: Arc<Semaphore>,
    /// Lives as long as the process and is never stored.
    key: hmac::Key,
    verified: Recent<[u8; 32], ()>,
}

impl Passwords {
    /// Makes the memory's key.
    pub fn new(context: &Context) -> Self {
        let key: [u8; 32] = context.random_bytes();
        Passwords {
            places: Arc::new(Semaphore::new(AT_A_TIME)),
            queue: Arc::new(Semaphore::new(AT_A_TIME + WAITING_MAX)),
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            verified: Recent::new(REMEMBERED_MAX, REMEMBERED_FOR_US),
        }
    }

    /// Hashes a password on a thread of its own.
    pub async fn hash(
        &self,
        context: &Context,
        password: &Secret,
        iterations: NonZeroU32,
    ) -> Result<String> {
        if password.expose().is_empty() || password.expose().len() > PASSWORD_MAX_BYTES {
            return Err(Error::invalid(format!(
                "A password has 1 to {PASSWORD_MAX_BYTES} bytes."
            )));
        }
        let salt: [u8; 16] = context.random_bytes();
        let password = password.clone();
        self.slowly(move || hash(&password, &salt, iterations))
            .await
    }

    /// True when the password is the one that was hashed. An absent hash, and a wrong guess at a quick one, cost the time of a
    /// chosen password's, so that time does not tell which users there are.
    ///
    /// # Errors
    /// `Busy` when too many wait to be verified.
    pub async fn verify(
        &self,
        password: &Secret,
        stored: Option<&str>,
        now_us: i64,
    ) -> Result<bool> {
        if password.expose().len() > PASSWORD_MAX_BYTES {
            return Ok(false);
        }
        let remembered = self.fingerprint(password, stored.unwrap_or_default());
        if stored.is_some() && self.verified.get(&remembered, now_us).is_some() {
            return Ok(true);
        }
        let mut parsed = stored.and_then(Stored::parse);
        if let Some(quick) = parsed.take_if(|stored| stored.iterations.get() <= QUICK_MAX)
            && quick.is_of(password)
        {
            return Ok(true);
        }
        let password = password.clone();
        let is_right = self
            .slowly(move || match parsed {
                Some(stored) => stored.is_of(&password),
                None => {
                    let _ = hash(&password, &[0; 16], CHOSEN);
                    false
                }
            })
            .await?;
        if is_right {
            self.verified.insert(remembered, (), now_us);
        }
        Ok(is_right)
    }

    /// Covers the stored hash too, so that a changed password is never remembered.
    fn fingerprint(&self, password: &Secret, stored: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&(stored.len() as u64).to_be_bytes());
        context.update(stored.as_bytes());
        context.update(password.expose().as_bytes());
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(context.sign().as_ref());
        fingerprint
    }

    async fn slowly<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let broken = |error: Box<dyn std::error::Error + Send + Sync>| {
            Error::new(
                ErrorKind::Internal,
                Subject::Identity,
                "An unexpected error has occurred.",
            )
            .caused_by(error)
        };
        let _queued = Arc::clone(&self.queue).try_acquire_owned().map_err(|_| {
            Error::new(
                ErrorKind::Busy,
                Subject::Identity,
                "Too many passwords are being checked, please try again later.",
            )
            .detail(format!("{WAITING_MAX} password checks wait already"))
        })?;
        let place = Arc::clone(&self.places)
            .acquire_owned()
            .await
            .map_err(|error| broken(error.into()))?;
        tokio::task::spawn_blocking(move || {
            let result = body();
            drop(place);
            result
        })
        .await
        .map_err(|error| broken(error.into()))
    }
}

fn hash(password: &Secret, salt: &[u8; 16], iterations: NonZeroU32) -> String {
    let mut out = [0; 32];
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        iterations,
        salt,
        password.expose().as_bytes(),
        &mut out,
    );
    format!(
        "pbkdf2-sha256${iterations}${}${}",
        BASE64.encode(salt),
        BASE64.encode(out)
    )
}

struct Stored {
    iterations: NonZeroU32,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl Stored {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('$');
        if parts.next()? != "pbkdf2-sha256" {
            return None;
        }
        let iterations = parts.next()?.parse().ok()?;
        let salt = BASE64.decode(parts.next()?).ok()?;
        let hash = BASE64.decode(parts.next()?).ok()?;
        let is_whole = parts.next().is_none() && hash.len() == 32 && iterations <= ITERATIONS_MAX;
        is_whole.then_some(Stored {
            iterations: NonZeroU32::new(iterations)?,
            salt,
            hash,
        })
    }

    /// Compares in constant time.
    fn is_of(&self, password: &Secret) -> bool {
        pbkdf2::verify(
            pbkdf2::PBKDF2_HMAC_SHA256,
            self.iterations,
            &self.salt,
            password.expose().as_bytes(),
            &self.hash,
        )
        .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_verified_and_remembered() {
        let context = Context::real();
        let passwords = Passwords::new(&context);
        let right = Secret::new("correct horse");
        let stored = passwords.hash(&context, &right, CHOSEN).await.unwrap();
        assert!(stored.starts_with("pbkdf2-sha256$600000$"));
        assert!(passwords.verify(&right, Some(&stored), 0).await.unwrap());
        let fingerprint = passwords.fingerprint(&right, &stored);
        assert!(passwords.verified.get(&fingerprint, 1).is_some());
        assert!(
            passwords
                .verified
                .get(&fingerprint, REMEMBERED_FOR_US)
                .is_none()
        );
        let wrong = Secret::new("battery staple");
        assert!(!passwords.verify(&wrong, Some(&stored), 0).await.unwrap());
        assert!(!passwords.verify(&right, None, 0).await.unwrap());
        let other = passwords.hash(&context, &wrong, RANDOM).await.unwrap();
        assert!(!passwords.verify(&right, Some(&other), 0).await.unwrap());
    }

    #[tokio::test]
    async fn a_queue_of_guesses_is_bounded_and_keeps_out_no_random_secret() {
        let context = Context::real();
        let passwords = Passwords::new(&context);
        let secret = Secret::new("drawn from many bits");
        let random = passwords.hash(&context, &secret, RANDOM).await.unwrap();
        let all = passwords.queue.available_permits();
        let _guesses = passwords.queue.try_acquire_many(all as u32).unwrap();
        let refused = passwords.verify(&Secret::new("guess"), None, 0).await;
        assert_eq!(refused.unwrap_err().kind, ErrorKind::Busy);
        assert!(passwords.verify(&secret, Some(&random), 0).await.unwrap());
    }

    #[tokio::test]
    async fn damaged_hashes_and_absurd_passwords_match_nothing() {
        let context = Context::real();
        let passwords = Passwords::new(&context);
        let password = Secret::new("x");
        let good = passwords.hash(&context, &password, RANDOM).await.unwrap();
        let absurd = good.replace("$1$", "$4000000000$");
        for stored in [
            "",
            "plain",
            "pbkdf2-sha256$0$AA$AA",
            &good[..good.len() - 3],
            &absurd,
        ] {
            assert!(Stored::parse(stored).is_none(), "{stored}");
        }
        assert!(
            passwords
                .hash(&context, &Secret::new(""), RANDOM)
                .await
                .is_err()
        );
        let long = Secret::new("x".repeat(PASSWORD_MAX_BYTES + 1));
        assert!(passwords.hash(&context, &long, RANDOM).await.is_err());
        assert!(!passwords.verify(&long, Some(&good), 0).await.unwrap());
    }
}
