//! Connects the volume service to where VDIs are served, over NBD. It passes bytes on and knows nothing of what they are.

use std::net::ToSocketAddrs;
use std::path::Path;
use std::time::Duration;

use nbd::BlockStatus;
use nbd::client::{ClientOptions, ClientTls};
use rustls::pki_types::ServerName;
use volume_service::driver::{Dialer, Disk, Door, PoolError, Run, Trouble};

/// How long a server may take for one step.
const PATIENCE: Duration = Duration::from_secs(20);
/// The reply of a server that has no such export. Source: NBD protocol, `NBD_REP_ERR_UNKNOWN`.
const UNKNOWN_EXPORT: u32 = 0x8000_0006;
/// The call in errors of this file.
const CALL: &str = "NBD";

/// Connects over NBD.
pub struct NbdDialer;

impl Dialer for NbdDialer {
    fn dial(&self, door: &Door) -> Result<Box<dyn Disk>, PoolError> {
        let client = match door {
            Door::Local { socket, export } => {
                nbd::Client::connect_unix(Path::new(socket), export.expose(), &options(None))
            }
            Door::Remote {
                address,
                port,
                export,
                tls,
                subject,
            } => {
                let unusable = |text: String| PoolError::new(CALL, Trouble::Unreachable, text);
                let named = ServerName::try_from(subject.clone());
                let server_name = named.map_err(|_| unusable(format!("{subject:?} is no name")))?;
                let found = (address.as_str(), *port).to_socket_addrs();
                let found =
                    found.map_err(|cause| unusable(format!("look up {address}: {cause}")))?;
                let options = options(Some(ClientTls {
                    config: tls.clone(),
                    server_name,
                }));
                let mut outcome = Err(nbd::Error::NotOffered {
                    feature: "an address",
                });
                for address in found {
                    outcome = nbd::Client::connect_tcp(address, export.expose(), &options);
                    if outcome.is_ok() {
                        break;
                    }
                }
                outcome
            }
        };
        match client {
            Ok(client) => Ok(Box::new(NbdDisk(client))),
            Err(error) => Err(failed(&error)),
        }
    }
}

fn options(tls: Option<ClientTls>) -> ClientOptions {
    ClientOptions {
        tls,
        timeout: PATIENCE,
    }
}

/// A VDI behind a connection.
struct NbdDisk(nbd::Client);

impl Disk for NbdDisk {
    fn size_bytes(&self) -> u64 {
        self.0.size()
    }

    fn read(&mut self, buffer: &mut [u8], offset: u64) -> Result<(), PoolError> {
        self.0.read(buffer, offset).map_err(|error| failed(&error))
    }

    fn write(&mut self, data: &[u8], offset: u64) -> Result<(), PoolError> {
        self.0.write(data, offset).map_err(|error| failed(&error))
    }

    fn flush(&mut self) -> Result<(), PoolError> {
        self.0.flush().map_err(|error| failed(&error))
    }

    fn runs(&mut self, offset: u64, length: u64) -> Result<Vec<Run>, PoolError> {
        let extents = match self.0.block_status(offset, length) {
            Ok(extents) => extents,
            // A server that does not say has all of it.
            Err(nbd::Error::NotOffered { .. }) => {
                return Ok(vec![Run {
                    length,
                    is_zero: false,
                }]);
            }
            Err(error) => return Err(failed(&error)),
        };
        let run = |extent: &nbd::Extent| Run {
            length: extent.length,
            is_zero: extent.status != BlockStatus::Data,
        };
        Ok(extents.iter().map(run).collect())
    }
}

/// Whatever breaks a connection, connecting anew tells what is the matter.
fn failed(error: &nbd::Error) -> PoolError {
    let trouble = match error {
        nbd::Error::OptionRefused {
            reply: UNKNOWN_EXPORT,
            ..
        } => Trouble::Gone,
        _ => Trouble::Unreachable,
    };
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    PoolError::new(CALL, trouble, text)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use nbd::{Export, Extent, Refusal};
    use storage_manager::export::{ExportOptions, ReaderGate, VdiExports};
    use uuid::Uuid;
    use volume_service::config::Secret;

    use super::*;

    const VDI: Uuid = Uuid::from_u128(7);
    const HALF: u64 = 1 << 20;

    /// 1 MiB of sevens, and as many zeros.
    struct Halves;

    impl Export for Halves {
        fn size(&self) -> u64 {
            2 * HALF
        }

        fn is_read_only(&self) -> bool {
            true
        }

        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            for (byte, at) in buffer.iter_mut().zip(offset..) {
                *byte = if at < HALF { 7 } else { 0 };
            }
            Ok(())
        }

        fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
            Err(io::ErrorKind::PermissionDenied.into())
        }

        fn write_zeroes_at(&self, _: u64, _: u64) -> io::Result<()> {
            Err(io::ErrorKind::PermissionDenied.into())
        }

        fn trim_at(&self, _: u64, _: u64) -> io::Result<()> {
            Err(io::ErrorKind::PermissionDenied.into())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }

        fn block_status(&self, offset: u64, length: u64, _: usize) -> io::Result<Vec<Extent>> {
            let data = HALF.saturating_sub(offset).min(length);
            let extents = [
                (data, BlockStatus::Data),
                (length - data, BlockStatus::Hole),
            ];
            let extent = |(length, status)| Extent { length, status };
            let some = extents.into_iter().filter(|(length, _)| *length > 0);
            Ok(some.map(extent).collect())
        }

        fn close(&self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Knows one session and one VDI.
    struct Gate;

    impl ReaderGate for Gate {
        fn is_valid_session(&self, session: &str) -> bool {
            session == "OpaqueRef:good"
        }

        fn open(&self, vdi: Uuid) -> Result<Arc<dyn Export>, Refusal> {
            match vdi == VDI {
                true => Ok(Arc::new(Halves)),
                false => Err(Refusal::Unknown),
            }
        }
    }

    fn exports(directory: &Path) -> VdiExports {
        let options = ExportOptions {
            data_dir: directory.to_owned(),
            host_name: "storage-1".to_owned(),
            tls_address: Some(([127, 0, 0, 1], 0).into()),
        };
        VdiExports::start(&options, Arc::new(Gate)).unwrap()
    }

    fn name(vdi: Uuid) -> Secret {
        Secret::new(VdiExports::session_export_name(vdi, "OpaqueRef:good"))
    }

    fn look(disk: &mut dyn Disk) {
        assert_eq!(disk.size_bytes(), 2 * HALF);
        let mut buffer = vec![0; 1024];
        disk.read(&mut buffer, HALF - 512).unwrap();
        assert!(buffer[..512].iter().all(|byte| *byte == 7));
        assert!(buffer[512..].iter().all(|byte| *byte == 0));
        let run = |length, is_zero| Run { length, is_zero };
        let half = HALF / 2;
        let runs = disk.runs(half, HALF).unwrap();
        assert_eq!(runs, [run(half, false), run(half, true)]);
    }

    #[test]
    fn a_vdi_is_read_on_this_machine_and_over_tls() {
        let directory = tempfile::tempdir().unwrap();
        let exports = exports(directory.path());
        let socket = exports.readers_socket().unwrap().display().to_string();
        let local = |vdi| Door::Local {
            socket: socket.clone(),
            export: name(vdi),
        };
        look(NbdDialer.dial(&local(VDI)).unwrap().as_mut());
        let gone = NbdDialer.dial(&local(Uuid::from_u128(8))).err().unwrap();
        assert_eq!(gone.trouble, Trouble::Gone);

        let endpoint = exports.tls_endpoint().unwrap().clone();
        let remote = |certificate: &str| {
            let (address, port) = ("localhost".to_owned(), endpoint.address.port());
            let subject = endpoint.subject.clone();
            Door::remote(address, port, name(VDI), certificate, subject)
        };
        let door = remote(&endpoint.certificate_pem).unwrap();
        assert!(!format!("{door:?}").contains("OpaqueRef"));
        look(NbdDialer.dial(&door).unwrap().as_mut());
        assert!(remote("no certificate").is_none());
        // Somebody else's certificate is not trusted.
        let elsewhere = tempfile::tempdir().unwrap();
        let others = self::exports(elsewhere.path());
        let other = others.tls_endpoint().unwrap().certificate_pem.clone();
        let refused = NbdDialer.dial(&remote(&other).unwrap()).err().unwrap();
        assert_eq!(refused.trouble, Trouble::Unreachable);
        exports.shutdown().unwrap();
        others.shutdown().unwrap();
        let away = NbdDialer.dial(&local(VDI)).err().unwrap();
        assert_eq!(away.trouble, Trouble::Unreachable);
    }
}
