//! The server and the client against each other, against hostile peers and against the tools of others.
// The lints' exceptions for tests do not reach their fixtures.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod codec;
mod fixture;
mod handshake;
mod hostile;
mod lifecycle;
mod tls;
mod tools;
mod transmission;
