//! Calls of class `secret`.

use super::call::Client;
use super::error::Error;
use crate::Value;
use crate::reference::SecretRef;

/// Calls of class `secret`.
#[derive(Clone, Copy, Debug)]
pub struct Secrets<'a>(&'a Client);

impl Client {
    /// Calls of class `secret`.
    pub fn secret(&self) -> Secrets<'_> {
        Secrets(self)
    }
}

impl Secrets<'_> {
    /// Calls `secret.create`. A device configuration names the secret by its uuid.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn create(&self, value: &str) -> Result<SecretRef, Error> {
        let record = Value::from([
            ("value", Value::from(value)),
            ("other_config", Value::Struct(Default::default())),
        ]);
        self.0
            .text("secret.create", vec![record])
            .await
            .map(SecretRef::from)
    }

    /// Calls `secret.get_uuid`.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn get_uuid(&self, secret: &SecretRef) -> Result<String, Error> {
        self.0.text("secret.get_uuid", vec![secret.into()]).await
    }

    /// Calls `secret.get_by_uuid`.
    ///
    /// # Errors
    /// Those of any call; `UUID_INVALID` when there is none.
    pub async fn get_by_uuid(&self, uuid: &str) -> Result<SecretRef, Error> {
        self.0
            .text("secret.get_by_uuid", vec![uuid.into()])
            .await
            .map(SecretRef::from)
    }

    /// Calls `secret.destroy`.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn destroy(&self, secret: &SecretRef) -> Result<(), Error> {
        self.0.void("secret.destroy", vec![secret.into()]).await
    }
}
