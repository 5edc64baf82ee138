//! Secrets at rest, passwords, tokens, and the caches that keep them cheap.

pub mod vault;
