//! The server and the client against each other, against hostile peers and against the tools of others.
// The lint's exception for tests does not reach their fixtures.
#![allow(clippy::unwrap_used)]

mod codec;
mod fixture;
mod handshake;
mod hostile;
mod lifecycle;
mod tls;
mod tools;
mod transmission;
