//! As much of an EC2 client as the demo needs: one action, signed with version 4.

use std::time::SystemTime;

use http::{Method, Request};
use ring::{digest, hmac};
use volume_service::config::Secret;

use crate::api_client::exchange_text;
use crate::credentials;
use crate::failure::{Exit, Failure, Result};
use crate::serve::Running;

/// Region and service of the signature; the server takes whatever the scope names.
const REGION: &str = "RegionOne";
const SERVICE: &str = "ec2";

/// A client with a key pair.
pub struct Ec2Client {
    endpoint: String,
    access_key: String,
    secret_key: Secret,
}

impl Ec2Client {
    /// Reads `ec2rc.sh`.
    pub fn from_files(running: &Running) -> Result<Self> {
        let mut variables = credentials::read_exports(&running.data_dir.file("ec2rc.sh"))?;
        let mut take = |name: &str| {
            variables
                .remove(name)
                .ok_or_else(|| Failure::new(Exit::Usage, format!("ec2rc.sh does not set {name}")))
        };
        Ok(Ec2Client {
            endpoint: take("AWS_ENDPOINT_URL_EC2")?,
            access_key: take("AWS_ACCESS_KEY_ID")?,
            secret_key: Secret::new(take("AWS_SECRET_ACCESS_KEY")?),
        })
    }

    /// Makes a volume; returns its id.
    pub async fn create_volume(&self, flavor: &str, size_gib: u64, zone: &str) -> Result<String> {
        let body = format!(
            "Action=CreateVolume&Version=2016-11-15&AvailabilityZone={zone}&Size={size_gib}&VolumeType={flavor}"
        );
        let answer = self.post(&body).await?;
        let id = answer
            .split("<volumeId>")
            .nth(1)
            .and_then(|rest| rest.split('<').next());
        id.map(str::to_owned)
            .ok_or_else(|| Failure::new(Exit::Failed, format!("CreateVolume answered {answer}")))
    }

    async fn post(&self, body: &str) -> Result<String> {
        let now = time::OffsetDateTime::from(SystemTime::now());
        let date = format!(
            "{:04}{:02}{:02}",
            now.year(),
            u8::from(now.month()),
            now.day()
        );
        let timestamp = format!(
            "{date}T{:02}{:02}{:02}Z",
            now.hour(),
            now.minute(),
            now.second()
        );
        let host = self
            .endpoint
            .split("://")
            .nth(1)
            .unwrap_or_default()
            .trim_end_matches('/');
        let content_type = "application/x-www-form-urlencoded; charset=utf-8";
        let canonical = format!(
            "POST\n/\n\ncontent-type:{content_type}\nhost:{host}\nx-amz-date:{timestamp}\n\ncontent-type;host;x-amz-date\n{}",
            sha256_hex(body.as_bytes())
        );
        let scope = format!("{date}/{REGION}/{SERVICE}/aws4_request");
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{}",
            sha256_hex(canonical.as_bytes())
        );
        let mut key = format!("AWS4{}", self.secret_key.expose()).into_bytes();
        for part in [
            date.as_str(),
            REGION,
            SERVICE,
            "aws4_request",
            to_sign.as_str(),
        ] {
            key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes())
                .as_ref()
                .to_vec();
        }
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders=content-type;host;x-amz-date, Signature={}",
            self.access_key,
            hex(&key)
        );
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/", self.endpoint.trim_end_matches('/')))
            .header("content-type", content_type)
            .header("x-amz-date", timestamp)
            .header("authorization", authorization);
        exchange_text(request, &self.endpoint, body).await
    }
}

fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
