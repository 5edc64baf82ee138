//! NBD exports of VDIs: one unix socket per attached VDI, and TLS over TCP for whoever has a session.

mod certificate;
mod endpoint;
mod export_name;
mod readers;
mod vdi_exports;
mod write_gate;

#[cfg(test)]
mod tests;

pub use certificate::{CERTIFICATE_FILE, Certificate, CertificateError};
pub use endpoint::{Endpoint, TlsEndpoint};
pub use vdi_exports::{Error, ExportOptions, ReaderGate, VdiExports};
pub use write_gate::WriteHold;
