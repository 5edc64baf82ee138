//! What a PBD says of an NFS export: version and mount options.
//!
//! Options are those of nfs(5). What a kernel's mount needs and this client does not is accepted without effect; what changes
//! where bytes are or who sees them, and is unknown, is refused.

use super::pieces::Pieces;
use super::version4::MinorVersions;

/// Port of NFS.
const NFS_PORT: u16 = 2049;

/// Smallest transfer that can be asked for.
const MIN_TRANSFER: u32 = 1024;

/// Options without a value that change nothing here: caches, locks, access times and retries of a kernel.
const WITHOUT_EFFECT: &[&str] = &[
    "rw",
    "soft",
    "hard",
    "softerr",
    "intr",
    "nointr",
    "bg",
    "fg",
    "lock",
    "nolock",
    "ac",
    "noac",
    "cto",
    "nocto",
    "acl",
    "noacl",
    "rdirplus",
    "nordirplus",
    "sharecache",
    "nosharecache",
    "noatime",
    "atime",
    "relatime",
    "nodiratime",
    "nodev",
    "nosuid",
    "noexec",
    "_netdev",
];

/// The same with a value.
const VALUES_WITHOUT_EFFECT: &[&str] = &[
    "acregmin",
    "acregmax",
    "acdirmin",
    "acdirmax",
    "actimeo",
    "retry",
    "lookupcache",
    "local_lock",
    "nconnect",
    "max_connect",
    "clientaddr",
];

/// A version of NFS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Version 3.
    Three,
    /// Version 4, with these minor versions.
    Four(MinorVersions),
}

/// The options of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NfsOptions {
    /// Which version is spoken.
    pub version: Version,
    /// Port of NFS.
    pub port: u16,
    /// Port of the mount service; asked of the port mapper when it is not said.
    pub mount_port: Option<u16>,
    /// Most bytes of transfers.
    pub(super) pieces: Pieces,
    /// Whether calls come from a port below 1024 where the process may.
    pub reserved_port: bool,
    /// Tenths of a second that the options say.
    pub timeout: Option<u32>,
    /// How often they pass.
    pub retries: Option<u32>,
}

/// Why options cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// A version that is not spoken.
    #[error("nfsversion {found:?} is not known; choose 3, 4, 4.1 or 4.2")]
    Version {
        /// What was said.
        found: String,
    },
    /// Version 4.0.
    #[error(
        "nfsversion 4.0 is not spoken, since it has no sessions; choose 4.1 or 4.2 if the server offers it, or 3"
    )]
    Version40,
    /// UDP.
    #[error(
        "UDP is not spoken: an image of which a packet is lost or mixed up would be damaged; remove {option}"
    )]
    Udp {
        /// What asks for it.
        option: &'static str,
    },
    /// Kerberos.
    #[error("{found} is not supported, only sec=sys is; allow AUTH_SYS in the export")]
    Security {
        /// What was said.
        found: String,
    },
    /// The SR would be read-only.
    #[error("an SR is written to; remove the option ro")]
    ReadOnly,
    /// An option that is not known.
    #[error(
        "the mount option {found:?} is not known to the client of this program; remove it if the export works without it"
    )]
    Unknown {
        /// What was said.
        found: String,
    },
    /// A value that is none.
    #[error("the mount option {found:?} has a value that cannot be used; {expected}")]
    Value {
        /// What was said.
        found: String,
        /// What it must be.
        expected: &'static str,
    },
}

impl NfsOptions {
    /// Reads `nfsversion`, `options` and `useUDP` of a PBD; what is not given is empty.
    pub fn parse(version: &str, options: &str, use_udp: &str) -> Result<Self, OptionError> {
        if use_udp.eq_ignore_ascii_case("true") {
            return Err(OptionError::Udp { option: "useUDP" });
        }
        let mut parsed = NfsOptions {
            version: parse_version(version)?,
            port: NFS_PORT,
            mount_port: None,
            pieces: Pieces::default(),
            reserved_port: true,
            timeout: None,
            retries: None,
        };
        for option in options.split(',').map(str::trim) {
            if !option.is_empty() {
                parsed.take(option)?;
            }
        }
        Ok(parsed)
    }

    fn take(&mut self, option: &str) -> Result<(), OptionError> {
        let Some((name, value)) = option.split_once('=') else {
            return self.take_flag(option);
        };
        let transfer = || {
            number(
                option,
                value,
                MIN_TRANSFER,
                "it is a number of bytes, at least 1024",
            )
        };
        match name {
            "port" => self.port = port(option, value)?,
            "mountport" => self.mount_port = Some(port(option, value)?),
            "rsize" => self.pieces.read = self.pieces.read.min(transfer()?),
            "wsize" => self.pieces.write = self.pieces.write.min(transfer()?),
            "timeo" => {
                let expected = "it is a number of tenths of a second, at least 1";
                self.timeout = Some(number(option, value, 1, expected)?);
            }
            "retrans" => self.retries = Some(number(option, value, 0, "it is a number")?),
            "vers" | "nfsvers" => self.version = parse_version(value)?,
            "minorversion" => self.version = parse_version(&format!("4.{value}"))?,
            "proto" | "mountproto" if value.starts_with("udp") => {
                return Err(OptionError::Udp {
                    option: "proto=udp",
                });
            }
            "proto" | "mountproto" if matches!(value, "tcp" | "tcp6") => {}
            "mountvers" if value == "3" => {}
            "sec" if value == "sys" => {}
            "sec" => {
                return Err(OptionError::Security {
                    found: option.to_owned(),
                });
            }
            name if VALUES_WITHOUT_EFFECT.contains(&name) => {}
            _ => {
                return Err(OptionError::Unknown {
                    found: option.to_owned(),
                });
            }
        }
        Ok(())
    }

    fn take_flag(&mut self, option: &str) -> Result<(), OptionError> {
        match option {
            "resvport" => self.reserved_port = true,
            "noresvport" => self.reserved_port = false,
            "tcp" => {}
            "udp" => return Err(OptionError::Udp { option: "udp" }),
            "ro" => return Err(OptionError::ReadOnly),
            option if WITHOUT_EFFECT.contains(&option) => {}
            _ => {
                return Err(OptionError::Unknown {
                    found: option.to_owned(),
                });
            }
        }
        Ok(())
    }
}

fn parse_version(text: &str) -> Result<Version, OptionError> {
    let four = |lowest, highest| Ok(Version::Four(MinorVersions { lowest, highest }));
    match text {
        "" | "3" => Ok(Version::Three),
        "4" => four(1, 2),
        "4.1" => four(1, 1),
        "4.2" => four(2, 2),
        "4.0" => Err(OptionError::Version40),
        _ => Err(OptionError::Version {
            found: text.to_owned(),
        }),
    }
}

fn port(option: &str, value: &str) -> Result<u16, OptionError> {
    let number = number(option, value, 1, "it is a port between 1 and 65535")?;
    u16::try_from(number).map_err(|_| OptionError::Value {
        found: option.to_owned(),
        expected: "it is a port between 1 and 65535",
    })
}

fn number(
    option: &str,
    value: &str,
    lowest: u32,
    expected: &'static str,
) -> Result<u32, OptionError> {
    let number = value.parse().ok().filter(|number| *number >= lowest);
    number.ok_or_else(|| OptionError::Value {
        found: option.to_owned(),
        expected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_makes_sense_without_a_mount() {
        let options =
            "port=12049,mountport=12050,soft,timeo=30,retrans=2,rsize=65536,noresvport,acdirmin=0";
        let parsed = NfsOptions::parse("4.1", options, "false").unwrap();
        assert_eq!((parsed.port, parsed.mount_port), (12049, Some(12050)));
        assert_eq!((parsed.timeout, parsed.retries), (Some(30), Some(2)));
        assert_eq!(parsed.pieces.read, 65536);
        assert!(!parsed.reserved_port);
        let versions = MinorVersions {
            lowest: 1,
            highest: 1,
        };
        assert_eq!(parsed.version, Version::Four(versions));
        let nothing = NfsOptions::parse("", "", "").unwrap();
        assert_eq!((nothing.version, nothing.port), (Version::Three, 2049));
        assert!(nothing.reserved_port);
    }

    #[test]
    fn refuses_what_it_cannot_do() {
        let refused = [
            ("2", "", ""),
            ("4.0", "", ""),
            ("4.3", "", ""),
            ("", "", "true"),
            ("", "udp", ""),
            ("", "proto=udp", ""),
            ("", "proto=rdma", ""),
            ("", "sec=krb5", ""),
            ("", "ro", ""),
            ("", "fsc", ""),
            ("", "port=0", ""),
            ("", "port=70000", ""),
            ("", "timeo=soon", ""),
            ("", "rsize=1", ""),
        ];
        for (version, options, udp) in refused {
            let parsed = NfsOptions::parse(version, options, udp);
            assert!(parsed.is_err(), "{version} {options} {udp}: {parsed:?}");
        }
    }
}
