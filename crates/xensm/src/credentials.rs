//! Secrets of an installation and the files that clients read.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use volume_service::app::identity::FirstCredentials;
use volume_service::config::Secret;

use crate::data_dir::{DataDir, write_private};
use crate::failure::{Exit, Failure, Result};

/// What `secrets.toml` holds.
#[derive(Serialize, Deserialize)]
pub struct Secrets {
    /// 64 hex digits: protects the secrets in the database and signs tokens.
    pub master_key: String,
    /// The password of the embedded Storage Manager's `root`.
    pub xenapi_password: String,
}

/// The first user's credentials, written before the database learns them: a crash between the two is mended by the next
/// start, which finds them here.
#[derive(Serialize, Deserialize)]
pub struct Pending {
    /// The user's name.
    pub user: String,
    /// Its password.
    pub password: String,
    /// Its project's name.
    pub project: String,
    /// Its EC2 access key id.
    pub access_key: String,
    /// Its EC2 secret key.
    pub secret_key: String,
}

impl Pending {
    /// Reads `admin.toml`, or makes it with random content on the first start.
    pub fn load_or_create(data_dir: &DataDir) -> Result<Self> {
        let path = data_dir.file("admin.toml");
        match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|cause| {
                Failure::new(
                    Exit::Usage,
                    format!("{} is damaged: {}", path.display(), cause.message()),
                )
            }),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                let pending = Pending {
                    user: "admin".to_owned(),
                    password: random_hex(20)?,
                    project: "admin".to_owned(),
                    access_key: random_hex(16)?,
                    secret_key: random_hex(20)?,
                };
                let text = toml::to_string(&pending).expect("strings are TOML");
                write_private(
                    &path,
                    &format!("# The first user. Its password may be another one by now.\n{text}"),
                )?;
                Ok(pending)
            }
            Err(cause) => Err(Failure::failed(format!("read {}", path.display()), &cause)),
        }
    }

    /// What the database is told, if it has no users yet.
    pub fn first(&self) -> FirstCredentials {
        FirstCredentials {
            user_name: self.user.clone(),
            password: Secret::new(self.password.clone()),
            project_name: self.project.clone(),
            ec2_access_key: self.access_key.clone(),
            ec2_secret_key: Secret::new(self.secret_key.clone()),
        }
    }
}

/// How the openstack client reaches an installation.
#[derive(Clone, Debug)]
pub struct CloudLogin {
    /// `http://127.0.0.1:5000/v3`
    pub auth_url: String,
    /// The user's name.
    pub username: String,
    /// Its password.
    pub password: Secret,
    /// The project's name.
    pub project: String,
    /// The certificates to trust, when the listeners speak TLS.
    pub ca_file: Option<String>,
}

impl Secrets {
    /// Reads the file, or makes it with random content on the first start.
    pub fn load_or_create(data_dir: &DataDir) -> Result<Self> {
        let path = data_dir.file("secrets.toml");
        match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|cause| {
                Failure::new(Exit::Usage, format!("{} is damaged: {}", path.display(), cause.message()))
                    .hint("restore it from a backup: without its master key the stored secrets cannot be read")
            }),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                let secrets = Secrets { master_key: random_hex(32)?, xenapi_password: random_hex(16)? };
                let text = toml::to_string(&secrets).expect("two strings are TOML");
                let note = "# Made at the first start. Keep a copy: it opens the secrets in the database.\n";
                write_private(&path, &format!("{note}{text}"))?;
                Ok(secrets)
            }
            Err(cause) => Err(Failure::failed(format!("read {}", path.display()), &cause)),
        }
    }

    /// The master key's bytes.
    pub fn master_key(&self) -> Result<[u8; 32]> {
        parse_key(&self.master_key).ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                "the master key in secrets.toml is not 64 hex digits",
            )
        })
    }
}

/// Parses 64 hex digits.
pub fn parse_key(text: &str) -> Option<[u8; 32]> {
    let text = text.trim();
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut key = [0; 32];
    for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(key)
}

/// Random bytes as hex digits.
fn random_hex(length: usize) -> Result<String> {
    let mut bytes = vec![0; length];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Failure::new(Exit::Failed, "the system's random source does not answer"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Writes `clouds.yaml` and `openrc.sh`.
pub fn write_openstack(data_dir: &DataDir, login: &CloudLogin) -> Result<()> {
    let CloudLogin {
        auth_url,
        username,
        password,
        project,
        ca_file,
    } = login;
    let password = password.expose();
    let ca = ca_file
        .as_ref()
        .map(|path| format!("    cacert: {path}\n"))
        .unwrap_or_default();
    write_private(
        &data_dir.file("clouds.yaml"),
        &format!(
            "clouds:\n  xensm:\n    auth_type: password\n    auth:\n      auth_url: {auth_url}\n      username: {username}\n      \
             password: {password}\n      project_name: {project}\n      user_domain_name: Default\n      \
             project_domain_name: Default\n    region_name: RegionOne\n    identity_api_version: 3\n{ca}"
        ),
    )?;
    let mut variables = vec![
        ("OS_AUTH_TYPE", "password".to_owned()),
        ("OS_AUTH_URL", auth_url.clone()),
        ("OS_IDENTITY_API_VERSION", "3".to_owned()),
        ("OS_USERNAME", username.clone()),
        ("OS_PASSWORD", password.to_owned()),
        ("OS_PROJECT_NAME", project.clone()),
        ("OS_USER_DOMAIN_NAME", "Default".to_owned()),
        ("OS_PROJECT_DOMAIN_NAME", "Default".to_owned()),
        ("OS_REGION_NAME", "RegionOne".to_owned()),
    ];
    if let Some(path) = ca_file {
        variables.push(("OS_CACERT", path.clone()));
    }
    write_exports(&data_dir.file("openrc.sh"), &variables)
}

/// Writes `ec2rc.sh`: the variables of the AWS tools and of euca2ools.
pub fn write_ec2(
    data_dir: &DataDir,
    endpoint: &str,
    access_key: &str,
    secret_key: &str,
    ca: Option<&str>,
) -> Result<()> {
    let mut variables = vec![
        ("AWS_ACCESS_KEY_ID", access_key.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", secret_key.to_owned()),
        ("AWS_DEFAULT_REGION", "RegionOne".to_owned()),
        ("AWS_REGION", "RegionOne".to_owned()),
        ("AWS_ENDPOINT_URL_EC2", endpoint.to_owned()),
        ("AWS_ENDPOINT_URL_EBS", endpoint.to_owned()),
        ("EC2_URL", endpoint.to_owned()),
        ("AWS_ACCESS_KEY", access_key.to_owned()),
        ("AWS_SECRET_KEY", secret_key.to_owned()),
        ("EC2_ACCESS_KEY", access_key.to_owned()),
        ("EC2_SECRET_KEY", secret_key.to_owned()),
    ];
    if let Some(path) = ca {
        variables.push(("AWS_CA_BUNDLE", path.to_owned()));
    }
    write_exports(&data_dir.file("ec2rc.sh"), &variables)
}

/// Writes `xenapi.sh`: the embedded Storage Manager's address and password.
pub fn write_xenapi(data_dir: &DataDir, url: &str, username: &str, password: &str) -> Result<()> {
    write_exports(
        &data_dir.file("xenapi.sh"),
        &[
            ("XENAPI_URL", url.to_owned()),
            ("XENAPI_USERNAME", username.to_owned()),
            ("XENAPI_PASSWORD", password.to_owned()),
        ],
    )
}

fn write_exports(path: &Path, variables: &[(&str, String)]) -> Result<()> {
    let lines: String = variables
        .iter()
        .map(|(name, value)| format!("export {name}='{}'\n", value.replace('\'', r"'\''")))
        .collect();
    write_private(path, &lines)
}

/// Reads a file of `export NAME='value'` lines that this program wrote.
pub fn read_exports(path: &Path) -> Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(path).map_err(|cause| {
        Failure::failed(format!("read the credentials in {}", path.display()), &cause)
            .hint("start `xensm serve` first, or name its data directory with --data-dir or XENSM_DATA_DIR")
    })?;
    let mut variables = BTreeMap::new();
    for line in text.lines() {
        let Some((name, value)) = line
            .strip_prefix("export ")
            .and_then(|rest| rest.split_once('='))
        else {
            continue;
        };
        let value = value
            .strip_prefix('\'')
            .and_then(|rest| rest.strip_suffix('\''))
            .unwrap_or(value);
        variables.insert(name.to_owned(), value.replace(r"'\''", "'"));
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports_survive_quotes_and_blanks() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rc.sh");
        write_exports(
            &path,
            &[("A", "it's = a 'value'".to_owned()), ("B", String::new())],
        )
        .unwrap();
        let variables = read_exports(&path).unwrap();
        assert_eq!(variables["A"], "it's = a 'value'");
        assert_eq!(variables["B"], "");
    }

    #[test]
    fn secrets_are_made_once_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let data_dir = DataDir::new(directory.path()).unwrap();
        let first = Secrets::load_or_create(&data_dir).unwrap();
        let again = Secrets::load_or_create(&data_dir).unwrap();
        assert_eq!(first.master_key, again.master_key);
        assert!(first.master_key().is_ok());
        let mode = fs::metadata(data_dir.file("secrets.toml"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
