//! Judges a configuration.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::file::{File, Pool};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It cannot be used.
    Error,
    /// It can be used, and somebody should look.
    Warning,
}

/// Something that the check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, where, and what is expected.
    pub text: String,
}

/// Judges the text of a file.
pub fn check_text(text: &str) -> Vec<Finding> {
    match toml::from_str::<File>(text) {
        Ok(file) => check(&file),
        Err(cause) => vec![error(cause.to_string())],
    }
}

/// Judges a parsed file.
pub fn check(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    check_listeners(file, &mut findings);
    check_zones(file, &mut findings);
    if let Some(url) = &file.database.url {
        let url = url.expose();
        if !["sqlite://", "postgresql://", "postgres://"]
            .iter()
            .any(|scheme| url.starts_with(scheme))
        {
            findings.push(error(
                "database.url must begin with sqlite:// or postgresql://",
            ));
        }
    }
    check_keystone(file, &mut findings);
    if let Some(path) = &file.secrets.master_key_file {
        check_secret_file("secrets.master_key_file", path, &mut findings);
    }
    for (key, url) in [
        ("endpoints.volume", &file.endpoints.volume),
        ("endpoints.identity", &file.endpoints.identity),
        ("endpoints.ec2", &file.endpoints.ec2),
    ] {
        let Some(url) = url else { continue };
        if !url.starts_with("http://") && !url.starts_with("https://") {
            findings.push(error(format!(
                "{key} must begin with http:// or https://, not {url}"
            )));
        }
    }
    for (key, value) in [
        ("identity.token_lifetime_s", file.identity.token_lifetime_s),
        ("limits.page_max", file.limits.page_max as u64),
        (
            "limits.worker_concurrency",
            file.limits.worker_concurrency as u64,
        ),
        ("limits.connections_max", file.limits.connections_max as u64),
        (
            "limits.request_body_max_bytes",
            file.limits.request_body_max_bytes as u64,
        ),
    ] {
        if value == 0 {
            findings.push(error(format!("{key} must be at least 1")));
        }
    }
    findings
}

fn check_keystone(file: &File, findings: &mut Vec<Finding>) {
    let identity = &file.identity;
    let Some(url) = &identity.keystone_url else {
        return;
    };
    let is_loopback = ["http://127.", "http://localhost", "http://[::1]"]
        .iter()
        .any(|start| url.starts_with(start));
    if !url.starts_with("https://") && !is_loopback {
        findings.push(error(format!(
            "identity.keystone_url = {url} would send passwords and tokens in clear text over the network: it must begin \
             with https://"
        )));
    }
    if !url.trim_end_matches('/').ends_with("/v3") {
        findings.push(error(format!(
            "identity.keystone_url = {url} must end with /v3"
        )));
    }
    match &identity.password_file {
        Some(path) => check_secret_file("identity.password_file", path, findings),
        None => findings.push(error("identity.keystone_url needs identity.password_file")),
    }
}

fn check_listeners(file: &File, findings: &mut Vec<Finding>) {
    let has_tls = match (&file.tls.cert_file, &file.tls.key_file) {
        (Some(_), Some(_)) => true,
        (None, None) => false,
        _ => {
            findings.push(error("tls.cert_file and tls.key_file go together"));
            false
        }
    };
    let listen = &file.listen;
    let apis = [
        ("volume", listen.volume),
        ("identity", listen.identity),
        ("ec2", listen.ec2),
    ];
    for (name, address) in apis {
        if !address.ip().is_loopback() && !has_tls && !listen.allow_plaintext {
            findings.push(error(format!(
                "listen.{name} = {address} would send passwords in clear text over the network: give tls.cert_file and \
                 tls.key_file, or say listen.allow_plaintext = true behind a proxy that speaks TLS"
            )));
        }
    }
    if !listen.xenapi.ip().is_loopback() {
        findings.push(error(format!(
            "listen.xenapi = {} must be a loopback address: the embedded Storage Manager's XenAPI is for this machine",
            listen.xenapi
        )));
    }
    let mut seen: Vec<(&str, SocketAddr)> = Vec::new();
    for (name, address) in apis.into_iter().chain([("xenapi", listen.xenapi)]) {
        if let Some((other, _)) = seen
            .iter()
            .find(|(_, taken)| *taken == address && address.port() != 0)
        {
            findings.push(error(format!(
                "listen.{name} and listen.{other} are both {address}"
            )));
        }
        seen.push((name, address));
    }
}

fn check_zones(file: &File, findings: &mut Vec<Finding>) {
    let mut names: Vec<&str> = Vec::new();
    for zone in &file.zones {
        if zone.name.is_empty() || zone.name.len() > 255 || zone.name.contains(char::is_whitespace)
        {
            findings.push(error(format!(
                "zone name {:?} must have 1 to 255 characters and no blanks",
                zone.name
            )));
        }
        if names.contains(&zone.name.as_str()) {
            findings.push(error(format!("zone {} is there twice", zone.name)));
        }
        names.push(&zone.name);
        if zone.pools.len() > 1 {
            findings.push(error(format!(
                "zone {} has {} pools: one is supported today",
                zone.name,
                zone.pools.len()
            )));
        }
        for pool in &zone.pools {
            check_pool(&zone.name, pool, findings);
        }
    }
    let embedded = file
        .zones
        .iter()
        .filter(|zone| zone.pools.is_empty())
        .count();
    if embedded > 1 {
        findings.push(error(
            "only one zone can be on the embedded Storage Manager; give the others a pool",
        ));
    }
    if let Some(default) = &file.default_zone {
        let exists = names.contains(&default.as_str()) || (names.is_empty() && default == "nova");
        if !exists {
            findings.push(error(format!(
                "default_zone {default} is none of the zones"
            )));
        }
    }
}

fn check_pool(zone: &str, pool: &Pool, findings: &mut Vec<Finding>) {
    let what = format!("zone {zone}, pool {}", pool.url);
    if let Some(rest) = pool.url.strip_prefix("http://") {
        let host = rest.split(['/', ':']).next().unwrap_or_default();
        if host != "127.0.0.1" && host != "localhost" {
            findings.push(error(format!(
                "{what}: plain http sends the password in clear text; use https"
            )));
        }
    } else if pool.url.starts_with("https://") {
        match (&pool.ca_file, &pool.fingerprint) {
            (None, None) => {
                findings.push(error(format!("{what}: https needs ca_file or fingerprint")))
            }
            (Some(_), Some(_)) => findings.push(error(format!(
                "{what}: give ca_file or fingerprint, not both"
            ))),
            (Some(path), None) if !path.is_file() => {
                findings.push(error(format!(
                    "{what}: ca_file {} is not there",
                    path.display()
                )));
            }
            _ => {}
        }
        if let Some(fingerprint) = &pool.fingerprint {
            let digits: String = fingerprint.chars().filter(|digit| *digit != ':').collect();
            if digits.len() != 64 || !digits.chars().all(|digit| digit.is_ascii_hexdigit()) {
                findings.push(error(format!(
                    "{what}: fingerprint must be 64 hex digits (SHA-256), colons allowed"
                )));
            }
        }
    } else if !pool.url.starts_with("unix:/") {
        findings.push(error(format!(
            "{what}: the URL must begin with https://, unix:/ or, on loopback, http://"
        )));
    }
    match &pool.password_file {
        Some(path) => check_secret_file(&what, path, findings),
        None if pool.url.starts_with("unix:") => {}
        None => findings.push(error(format!("{what}: password_file is missing"))),
    }
}

fn check_secret_file(what: &str, path: &Path, findings: &mut Vec<Finding>) {
    match std::fs::metadata(path) {
        Err(cause) => findings.push(error(format!("{what}: {}: {cause}", path.display()))),
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => findings.push(Finding {
            severity: Severity::Warning,
            text: format!(
                "{what}: others may read {}; run: chmod 600 {}",
                path.display(),
                path.display()
            ),
        }),
        Ok(_) => {}
    }
}

fn error(text: impl Into<String>) -> Finding {
    Finding {
        severity: Severity::Error,
        text: text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EXAMPLE;

    fn errors(text: &str) -> Vec<String> {
        check_text(text)
            .into_iter()
            .map(|finding| finding.text)
            .collect()
    }

    #[test]
    fn the_example_says_the_defaults() {
        assert_eq!(errors(EXAMPLE), Vec::<String>::new());
        // With the comment marks of the settings taken away it still parses, so no key of it is misspelt.
        let spoken: String = EXAMPLE
            .lines()
            .map(|line| {
                line.strip_prefix('#')
                    .filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '['))
            })
            .map(|line| format!("{}\n", line.unwrap_or_default()))
            .collect();
        assert!(spoken.contains("data_dir"));
        for table in EXAMPLE.split("\n[").skip(1) {
            let body: String = format!("[{table}")
                .lines()
                .map(|line| match line.strip_prefix('#') {
                    Some(rest) if rest.contains(" = ") || rest.starts_with('[') => {
                        format!("{rest}\n")
                    }
                    Some(_) => String::new(),
                    None => format!("{line}\n"),
                })
                .collect();
            toml::from_str::<File>(&body).unwrap_or_else(|cause| panic!("{body}\n{cause}"));
        }
    }

    #[test]
    fn refuses_what_would_be_unsafe_or_cannot_work() {
        for (text, part) in [
            ("[listen]\nvolume = '0.0.0.0:8776'", "clear text"),
            ("[listen]\nvolume = '127.0.0.1:5000'", "both 127.0.0.1:5000"),
            ("[listen]\nxenapi = '0.0.0.0:1'", "loopback"),
            ("[tls]\ncert_file = 'x'", "go together"),
            ("[database]\nurl = 'mysql://x'", "postgresql://"),
            ("[[zone]]\nname = 'a'\n[[zone]]\nname = 'a'", "twice"),
            (
                "[[zone]]\nname = 'a'\n[[zone.pool]]\nurl = 'https://p'\npassword_file = '/dev/null'",
                "fingerprint",
            ),
            (
                "[[zone]]\nname = 'a'\n[[zone.pool]]\nurl = 'http://p'\npassword_file = '/dev/null'",
                "https",
            ),
            ("default_zone = 'x'", "none of the zones"),
            ("nonsense = 1", "unknown field"),
            ("[limits]\npage_max = 0", "at least 1"),
        ] {
            let found = errors(text);
            assert!(
                found.iter().any(|line| line.contains(part)),
                "{text}: {found:?}"
            );
        }
    }

    #[test]
    fn a_database_password_is_not_shown() {
        let file: File = toml::from_str("[database]\nurl = 'postgresql://u:hunter2@h/d'").unwrap();
        assert!(!format!("{file:?}").contains("hunter2"));
    }
}
