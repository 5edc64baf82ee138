//! Real servers and clients for the tests; used from `tests/` only.

pub mod postgres;
