//! Media: where the bytes of an SR are.

pub mod directory;
