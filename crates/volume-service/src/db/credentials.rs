//! Application credentials, EC2 keys and revoked tokens.

use super::{Param, Row, Transaction};
use crate::error::Result;

/// An application credential's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationCredential {
    /// Its id.
    pub id: String,
    /// Its name, unique for the user.
    pub name: String,
    /// Whom it acts for.
    pub user_id: String,
    /// In which project.
    pub project_id: String,
    /// With which roles; those that the user has lost since do not count.
    pub roles: Vec<String>,
    /// The hash of its secret.
    pub secret_hash: String,
    /// Microseconds since 1970; none for never.
    pub expires_at_us: Option<i64>,
    /// A sentence for people.
    pub description: String,
    /// True when its tokens may make and delete application credentials.
    pub is_unrestricted: bool,
}

/// An EC2 key's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ec2Key {
    /// Its public id.
    pub access_key: String,
    /// Whom it acts for.
    pub user_id: String,
    /// In which project.
    pub project_id: String,
    /// Its secret, sealed.
    pub sealed_secret: Vec<u8>,
}

const APPLICATION_CREDENTIAL: &str = "SELECT c.id, c.name, c.user_id, c.project_id, c.roles, c.secret_hash, c.expires_at_us, \
     COALESCE(t.description, ''), COALESCE(t.unrestricted, 0) \
     FROM application_credentials c LEFT JOIN app_credential_traits t ON t.id = c.id";
/// Most application credentials, and most EC2 keys, of one user.
pub const PER_USER_MAX: i64 = 1000;

/// Adds an application credential; false, with nothing changed, when the user has one of that name.
pub fn insert_application_credential(
    tx: &mut Transaction<'_>,
    credential: &ApplicationCredential,
    now_us: i64,
) -> Result<bool> {
    let added = tx.execute(
        "INSERT INTO application_credentials (id, name, user_id, project_id, roles, secret_hash, expires_at_us, created_at_us) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
        &[
            credential.id.as_str().into(),
            credential.name.as_str().into(),
            credential.user_id.as_str().into(),
            credential.project_id.as_str().into(),
            credential.roles.join(",").into(),
            credential.secret_hash.as_str().into(),
            credential.expires_at_us.into(),
            now_us.into(),
        ],
    )?;
    if added == 1 {
        tx.execute(
            "INSERT INTO app_credential_traits (id, description, unrestricted) VALUES (?1, ?2, ?3)",
            &[
                credential.id.as_str().into(),
                credential.description.as_str().into(),
                credential.is_unrestricted.into(),
            ],
        )?;
    }
    Ok(added == 1)
}

/// An application credential by id.
pub fn find_application_credential(
    tx: &mut Transaction<'_>,
    id: &str,
) -> Result<Option<ApplicationCredential>> {
    tx.query_first(
        &format!("{APPLICATION_CREDENTIAL} WHERE c.id = ?1"),
        &[id.into()],
        application_credential,
    )
}

/// A user's application credential by name.
pub fn find_application_credential_by_name(
    tx: &mut Transaction<'_>,
    user_id: &str,
    name: &str,
) -> Result<Option<ApplicationCredential>> {
    tx.query_first(
        &format!("{APPLICATION_CREDENTIAL} WHERE c.user_id = ?1 AND c.name = ?2"),
        &[user_id.into(), name.into()],
        application_credential,
    )
}

/// A user's application credentials, by name.
pub fn application_credentials_of(
    tx: &mut Transaction<'_>,
    user_id: &str,
) -> Result<Vec<ApplicationCredential>> {
    tx.query(
        &format!("{APPLICATION_CREDENTIAL} WHERE c.user_id = ?1 ORDER BY c.name, c.id LIMIT ?2"),
        &[user_id.into(), PER_USER_MAX.into()],
        application_credential,
    )
}

/// How many application credentials a user has.
pub fn count_application_credentials(tx: &mut Transaction<'_>, user_id: &str) -> Result<i64> {
    let count = tx.query_first(
        "SELECT COUNT(*) FROM application_credentials WHERE user_id = ?1",
        &[user_id.into()],
        |row| row.int(0),
    )?;
    Ok(count.unwrap_or_default())
}

/// Removes a user's application credential; false when there is none.
pub fn remove_application_credential(
    tx: &mut Transaction<'_>,
    user_id: &str,
    id: &str,
) -> Result<bool> {
    let removed = tx.execute(
        "DELETE FROM application_credentials WHERE user_id = ?1 AND id = ?2",
        &[user_id.into(), id.into()],
    )?;
    Ok(removed == 1)
}

/// Removes the application credentials of a user in a project.
pub fn remove_application_credentials_in(
    tx: &mut Transaction<'_>,
    user_id: &str,
    project_id: &str,
) -> Result<()> {
    tx.execute(
        "DELETE FROM application_credentials WHERE user_id = ?1 AND project_id = ?2",
        &[user_id.into(), project_id.into()],
    )?;
    Ok(())
}

/// Adds an EC2 key.
pub fn insert_ec2_key(tx: &mut Transaction<'_>, key: &Ec2Key, now_us: i64) -> Result<()> {
    tx.execute(
        "INSERT INTO ec2_keys (access_key, user_id, project_id, sealed_secret, created_at_us) VALUES (?1, ?2, ?3, ?4, ?5)",
        &[
            key.access_key.as_str().into(),
            key.user_id.as_str().into(),
            key.project_id.as_str().into(),
            Param::Bytes(key.sealed_secret.clone()),
            now_us.into(),
        ],
    )?;
    Ok(())
}

/// An EC2 key by its public id.
pub fn find_ec2_key(tx: &mut Transaction<'_>, access_key: &str) -> Result<Option<Ec2Key>> {
    tx.query_first(
        "SELECT access_key, user_id, project_id, sealed_secret FROM ec2_keys WHERE access_key = ?1",
        &[access_key.into()],
        ec2_key,
    )
}

/// The EC2 keys of a user, by access key.
pub fn ec2_keys_of(tx: &mut Transaction<'_>, user_id: &str) -> Result<Vec<Ec2Key>> {
    tx.query(
        "SELECT access_key, user_id, project_id, sealed_secret FROM ec2_keys WHERE user_id = ?1 ORDER BY access_key LIMIT ?2",
        &[user_id.into(), PER_USER_MAX.into()],
        ec2_key,
    )
}

/// How many EC2 keys a user has.
pub fn count_ec2_keys(tx: &mut Transaction<'_>, user_id: &str) -> Result<i64> {
    let count = tx.query_first(
        "SELECT COUNT(*) FROM ec2_keys WHERE user_id = ?1",
        &[user_id.into()],
        |row| row.int(0),
    )?;
    Ok(count.unwrap_or_default())
}

/// Removes a user's EC2 key; false when there is none.
pub fn remove_ec2_key(tx: &mut Transaction<'_>, user_id: &str, access_key: &str) -> Result<bool> {
    let removed = tx.execute(
        "DELETE FROM ec2_keys WHERE user_id = ?1 AND access_key = ?2",
        &[user_id.into(), access_key.into()],
    )?;
    Ok(removed == 1)
}

fn ec2_key(row: &Row<'_>) -> Result<Ec2Key> {
    Ok(Ec2Key {
        access_key: row.text(0)?,
        user_id: row.text(1)?,
        project_id: row.text(2)?,
        sealed_secret: row.bytes(3)?,
    })
}

/// Revokes a token, and forgets those that expired at a time or before.
pub fn revoke_token(
    tx: &mut Transaction<'_>,
    audit_id: &str,
    expires_at_us: i64,
    expired_us: i64,
) -> Result<()> {
    tx.execute(
        "INSERT INTO revoked_tokens (audit_id, expires_at_us) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        &[audit_id.into(), expires_at_us.into()],
    )?;
    tx.execute(
        "DELETE FROM revoked_tokens WHERE expires_at_us <= ?1",
        &[expired_us.into()],
    )?;
    Ok(())
}

/// True when a token was revoked.
pub fn is_token_revoked(tx: &mut Transaction<'_>, audit_id: &str) -> Result<bool> {
    let found = tx.query(
        "SELECT audit_id FROM revoked_tokens WHERE audit_id = ?1",
        &[audit_id.into()],
        |row| row.text(0),
    )?;
    Ok(!found.is_empty())
}

fn application_credential(row: &Row<'_>) -> Result<ApplicationCredential> {
    Ok(ApplicationCredential {
        id: row.text(0)?,
        name: row.text(1)?,
        user_id: row.text(2)?,
        project_id: row.text(3)?,
        roles: row
            .text(4)?
            .split(',')
            .filter(|role| !role.is_empty())
            .map(str::to_owned)
            .collect(),
        secret_hash: row.text(5)?,
        expires_at_us: row.opt_int(6)?,
        description: row.text(7)?,
        is_unrestricted: row.int(8)? != 0,
    })
}
