//! The server and the client against each other, against hostile peers and against the tools of others.
#![allow(
    clippy::unwrap_used,
    reason = "the lint's exception for tests does not reach their fixtures"
)]

mod codec;
mod fixture;
mod handshake;
mod hostile;
mod lifecycle;
mod tls;
mod tools;
mod transmission;
