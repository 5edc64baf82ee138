//! Signs requests of the EC2 API with version 4, as cheaply as can be.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use ring::{digest, hmac};

/// The region of every signature; any will do.
const REGION: &str = "us-east-1";

/// Signs with one key, for a moment that is a few minutes away at most.
#[derive(Clone)]
pub struct Signer {
    access_key: String,
    key: hmac::Key,
    /// `20150830T123600Z`
    time: String,
    authority: String,
}

impl Signer {
    /// Signs for `http://host:port` with a key, from now on.
    pub fn new(base: &str, access_key: &str, secret: &str) -> anyhow::Result<Self> {
        let time = Command::new("date")
            .args(["-u", "+%Y%m%dT%H%M%SZ"])
            .output()?;
        let time = String::from_utf8(time.stdout)?.trim().to_owned();
        let start = hmac::Key::new(hmac::HMAC_SHA256, format!("AWS4{secret}").as_bytes());
        let parts = [&time[..8], REGION, "ec2", "aws4_request"];
        let key = parts.iter().fold(start, |key, part| {
            let tag = hmac::sign(&key, part.as_bytes());
            hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref())
        });
        let (_, authority) = base.split_once("://").context("a URL")?;
        Ok(Signer {
            access_key: access_key.to_owned(),
            key,
            time,
            authority: authority.trim_end_matches('/').to_owned(),
        })
    }

    /// The key that a data directory's `ec2rc.sh` names, and the URL of the API.
    pub fn of_directory(data_dir: &Path) -> anyhow::Result<(String, Self)> {
        let text = std::fs::read_to_string(data_dir.join("ec2rc.sh"))?;
        let variables: BTreeMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
            .map(|(name, value)| (name, value.trim_matches('\'')))
            .collect();
        let get = |name: &str| {
            variables
                .get(name)
                .with_context(|| format!("{name} is in ec2rc.sh"))
        };
        let base = *get("AWS_ENDPOINT_URL_EC2")?;
        let signer = Signer::new(
            base,
            get("AWS_ACCESS_KEY_ID")?,
            get("AWS_SECRET_ACCESS_KEY")?,
        )?;
        Ok((base.to_owned(), signer))
    }

    /// When it signs, in the form `20150830T123600Z`.
    pub fn time(&self) -> &str {
        &self.time
    }

    /// The header lines of a form that is posted to `/`.
    pub fn headers(&self, form: &str) -> String {
        let canonical = format!(
            "POST\n/\n\ncontent-type:{FORM}\nhost:{}\nx-amz-date:{}\n\n{SIGNED}\n{}",
            self.authority,
            self.time,
            sha256(form)
        );
        let scope = format!("{}/{REGION}/ec2/aws4_request", &self.time[..8]);
        let text = format!(
            "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
            self.time,
            sha256(&canonical)
        );
        let signature = hex(hmac::sign(&self.key, text.as_bytes()).as_ref());
        format!(
            "X-Amz-Date: {}\r\nAuthorization: AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={SIGNED}, Signature={signature}\r\n",
            self.time, self.access_key
        )
    }
}

/// The media type of a form.
pub const FORM: &str = "application/x-www-form-urlencoded";
const SIGNED: &str = "content-type;host;x-amz-date";

fn sha256(text: &str) -> String {
    hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
