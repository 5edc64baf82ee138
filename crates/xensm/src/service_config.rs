//! The service's configuration, made of what the operator said and what the data directory holds.

use volume_service::auth::policy::Policies;
use volume_service::config::{
    Endpoints, KeystoneConfig, Limits, MasterKey, PoolConfig, Secret, Trust, ZoneConfig,
};

use crate::config::{File, Pool};
use crate::credentials::{self, Secrets};
use crate::data_dir::DataDir;
use crate::failure::{Exit, Failure, Result};

/// The user of the embedded Storage Manager.
pub const XENAPI_USER: &str = "root";
/// The zone when none is configured.
pub const DEFAULT_ZONE: &str = "nova";

/// The service's configuration from the file. Without endpoints (`nova-manage`, a worker alone) links are not made.
pub fn service_config(
    file: &File,
    data_dir: &DataDir,
    endpoints: Option<Endpoints>,
) -> Result<volume_service::Config> {
    let url = match &file.database.url {
        Some(url) => url.clone(),
        None => Secret::new(data_dir.database_url()),
    };
    let zones = zones(file, data_dir)?;
    let default_zone = match &file.default_zone {
        Some(zone) => zone.clone(),
        None => zones
            .first()
            .map_or(DEFAULT_ZONE.to_owned(), |zone| zone.name.clone()),
    };
    let limits = &file.limits;
    Ok(volume_service::Config {
        database_url: url,
        master_key: MasterKey(master_key(file, data_dir)?.into()),
        zones,
        default_zone,
        endpoints: endpoints.unwrap_or(Endpoints {
            volume: String::new(),
            identity: String::new(),
            ec2: String::new(),
        }),
        limits: Limits {
            request_body_max_bytes: limits.request_body_max_bytes,
            page_max: limits.page_max,
            volumes_per_project: limits.volumes_per_project,
            snapshots_per_project: limits.snapshots_per_project,
            gigabytes_per_project: limits.gigabytes_per_project,
            gigabytes_per_volume: limits.gigabytes_per_volume,
            groups_per_project: limits.groups_per_project,
            worker_concurrency: limits.worker_concurrency,
        },
        token_lifetime_s: file.identity.token_lifetime_s,
        keystone: keystone(file)?,
        audit_dir: None,
        policies: policies(file)?,
    })
}

fn policies(file: &File) -> Result<Policies> {
    let Some(path) = &file.policy.file else {
        return Ok(Policies::default());
    };
    let text = std::fs::read_to_string(path).map_err(|cause| {
        Failure::failed(format!("read the policies {}", path.display()), &cause)
    })?;
    Policies::parse(&text).map_err(|error| {
        Failure::new(Exit::Usage, format!("{}: {error}", path.display()))
            .hint("what a policy file holds is in docs/operate/policies.md")
    })
}

fn keystone(file: &File) -> Result<Option<KeystoneConfig>> {
    let identity = &file.identity;
    let Some(url) = &identity.keystone_url else {
        return Ok(None);
    };
    let path = identity.password_file.as_ref().ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            "identity.keystone_url needs identity.password_file",
        )
    })?;
    let password = std::fs::read_to_string(path).map_err(|cause| {
        Failure::failed(
            format!("read the password for Keystone in {}", path.display()),
            &cause,
        )
    })?;
    Ok(Some(KeystoneConfig {
        url: url.trim_end_matches('/').to_owned(),
        username: identity.username.clone(),
        password: Secret::new(password.lines().next().unwrap_or_default()),
        project: identity.project.clone(),
        domain: identity.domain.clone(),
        trust: identity
            .ca_file
            .clone()
            .map_or(Trust::NotNeeded, Trust::CaFile),
        service_roles: identity.service_roles.clone(),
    }))
}

fn master_key(file: &File, data_dir: &DataDir) -> Result<[u8; 32]> {
    let Some(path) = &file.secrets.master_key_file else {
        return Secrets::load_or_create(data_dir)?.master_key();
    };
    let text = std::fs::read_to_string(path).map_err(|cause| {
        Failure::failed(format!("read the master key {}", path.display()), &cause)
    })?;
    credentials::parse_key(&text).ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            format!("{} does not hold 64 hex digits", path.display()),
        )
        .hint("make one with: openssl rand -hex 32")
    })
}

fn zones(file: &File, data_dir: &DataDir) -> Result<Vec<ZoneConfig>> {
    let embedded = || -> Result<PoolConfig> {
        Ok(PoolConfig {
            url: format!("unix:{}", data_dir.socket().display()),
            username: XENAPI_USER.to_owned(),
            password: Secret::new(Secrets::load_or_create(data_dir)?.xenapi_password),
            trust: Trust::NotNeeded,
        })
    };
    if file.zones.is_empty() {
        return Ok(vec![ZoneConfig {
            name: DEFAULT_ZONE.to_owned(),
            pools: vec![embedded()?],
        }]);
    }
    let mut zones = Vec::new();
    for zone in &file.zones {
        let pools = match zone.pools.is_empty() {
            true => vec![embedded()?],
            false => zone.pools.iter().map(pool).collect::<Result<_>>()?,
        };
        zones.push(ZoneConfig {
            name: zone.name.clone(),
            pools,
        });
    }
    Ok(zones)
}

fn pool(pool: &Pool) -> Result<PoolConfig> {
    let password = match &pool.password_file {
        None => String::new(),
        Some(path) => std::fs::read_to_string(path)
            .map_err(|cause| {
                Failure::failed(format!("read the password of pool {}", pool.url), &cause)
            })?
            .trim_end_matches('\n')
            .to_owned(),
    };
    let trust = match (&pool.ca_file, &pool.fingerprint) {
        (Some(path), _) => Trust::CaFile(path.clone()),
        (None, Some(fingerprint)) => Trust::Fingerprint(fingerprint.clone()),
        (None, None) => Trust::NotNeeded,
    };
    Ok(PoolConfig {
        url: pool.url.clone(),
        username: pool.user.clone(),
        password: Secret::new(password),
        trust,
    })
}
