//! The tokens of pages and blocks: what they are about, until when they are good, and a proof that they are ours. No row stands
//! behind them. A token is bound to snapshots and not to who asked, so that it is worth nothing without the right to read them.
//!
//! # Layout
//! Base64 of: version 1; one byte of [`Token`]'s kind; an index, 8 bytes; the end of its life in microseconds since 1970, 8 bytes,
//! both big-endian; HMAC-SHA256 of all that and the ids of the snapshots.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use uuid::Uuid;

use crate::auth::vault::derive;
use crate::config::MasterKey;

/// How long tokens are good, in microseconds: seven days, as AWS documents it.
const LIFE_US: i64 = 7 * 24 * 3600 * 1_000_000;
const VERSION: u8 = 1;
/// Bytes before the proof.
const HEAD: usize = 1 + 1 + 8 + 8;
const PROOF: usize = 32;

/// What a token is for; each with an index of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// Reading a block of a snapshot.
    Block,
    /// The page of a snapshot's blocks that begins at a block.
    Page,
    /// The page of changed blocks that begins at a block.
    ChangedPage,
}

impl Token {
    fn byte(self) -> u8 {
        match self {
            Token::Block => 1,
            Token::Page => 2,
            Token::ChangedPage => 3,
        }
    }
}

/// Makes tokens and reads them.
pub(super) struct Tokens {
    key: hmac::Key,
    now_us: i64,
}

impl Tokens {
    pub(super) fn new(master: &MasterKey, now_us: i64) -> Self {
        let key = derive(master, b"xensm tokens of blocks, 1");
        Tokens {
            key: hmac::Key::new(hmac::HMAC_SHA256, &key[..]),
            now_us,
        }
    }

    /// When what is made now ends, in microseconds since 1970.
    pub(super) fn expiry_us(&self) -> i64 {
        self.now_us.saturating_add(LIFE_US)
    }

    /// Makes a token.
    pub(super) fn make(&self, token: Token, index: u64, snapshots: &[Uuid]) -> String {
        let mut bytes = Vec::with_capacity(HEAD + PROOF);
        bytes.extend_from_slice(&[VERSION, token.byte()]);
        bytes.extend_from_slice(&index.to_be_bytes());
        bytes.extend_from_slice(&self.expiry_us().to_be_bytes());
        let proof = hmac::sign(&self.key, &bound(&bytes, snapshots));
        bytes.extend_from_slice(proof.as_ref());
        STANDARD.encode(bytes)
    }

    /// The index in a token; none when it is not ours, of another kind or other snapshots, or expired.
    pub(super) fn read(&self, token: Token, text: &str, snapshots: &[Uuid]) -> Option<u64> {
        let bytes = STANDARD.decode(text).ok()?;
        let (head, proof) = bytes.split_first_chunk::<HEAD>()?;
        hmac::verify(&self.key, &bound(head, snapshots), proof).ok()?;
        let (start, rest) = head.split_first_chunk::<2>()?;
        let (index, expiry) = rest.split_first_chunk::<8>()?;
        let expiry_us = i64::from_be_bytes(*expiry.first_chunk::<8>()?);
        let is_good = *start == [VERSION, token.byte()] && self.now_us < expiry_us;
        is_good.then(|| u64::from_be_bytes(*index))
    }
}

fn bound(head: &[u8], snapshots: &[Uuid]) -> Vec<u8> {
    let ids = snapshots.iter().flat_map(|id| id.as_bytes());
    head.iter().chain(ids).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_bound_and_expire() {
        let key = |byte| MasterKey(zeroize::Zeroizing::new([byte; 32]));
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let tokens = Tokens::new(&key(7), 1_000);
        let text = tokens.make(Token::Block, 4095, &[one]);
        assert!(text.len() <= 256, "the model's longest token");
        assert_eq!(tokens.read(Token::Block, &text, &[one]), Some(4095));
        assert_eq!(tokens.read(Token::Page, &text, &[one]), None);
        assert_eq!(tokens.read(Token::Block, &text, &[two]), None);
        assert_eq!(tokens.read(Token::Block, &text, &[one, two]), None);
        let later = Tokens::new(&key(7), tokens.expiry_us());
        assert_eq!(later.read(Token::Block, &text, &[one]), None);
        let foreign = Tokens::new(&key(8), 1_000);
        assert_eq!(foreign.read(Token::Block, &text, &[one]), None);
        let pair = tokens.make(Token::ChangedPage, 1, &[one, two]);
        assert_eq!(tokens.read(Token::ChangedPage, &pair, &[one, two]), Some(1));
        assert_eq!(tokens.read(Token::ChangedPage, &pair, &[two, one]), None);
        // Whatever bit is changed.
        let bytes = STANDARD.decode(&text).unwrap();
        for at in 0..bytes.len() {
            let mut bent = bytes.clone();
            bent[at] ^= 1;
            let bent = STANDARD.encode(bent);
            assert_eq!(tokens.read(Token::Block, &bent, &[one]), None, "byte {at}");
        }
        for text in ["", "AAAA", "!", &text[4..]] {
            assert_eq!(tokens.read(Token::Block, text, &[one]), None, "{text}");
        }
    }
}
