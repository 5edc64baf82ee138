//! Signatures against the published vectors and against requests that botocore 1.44 signed.

mod signatures;
