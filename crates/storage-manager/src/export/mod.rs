//! NBD exports of attached VDIs: one unix socket per VDI, and TLS over TCP for whoever has a session.

mod certificate;

pub use certificate::{CERTIFICATE_FILE, Certificate, CertificateError};
