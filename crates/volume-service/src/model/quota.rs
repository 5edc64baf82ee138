//! What quotas limit.

use std::fmt;

use super::id::FlavorId;

/// Something that a project has no more of than its quota says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// Volumes.
    Volumes,
    /// Snapshots.
    Snapshots,
    /// GiB of volumes, of what they are being extended by, and of snapshots.
    Gigabytes,
    /// GiB of one volume.
    PerVolumeGigabytes,
    /// Backups, of which there are none.
    Backups,
    /// GiB of backups.
    BackupGigabytes,
    /// Groups of volumes.
    Groups,
}

impl Resource {
    /// Everything that a quota set holds.
    pub const ALL: [Resource; 7] = [
        Resource::Volumes,
        Resource::Snapshots,
        Resource::Gigabytes,
        Resource::PerVolumeGigabytes,
        Resource::Backups,
        Resource::BackupGigabytes,
        Resource::Groups,
    ];

    /// What is limited for each flavor too.
    pub const OF_FLAVOR: [Resource; 3] =
        [Resource::Volumes, Resource::Snapshots, Resource::Gigabytes];

    /// The word that OpenStack uses, which is also what the database stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Resource::Volumes => "volumes",
            Resource::Snapshots => "snapshots",
            Resource::Gigabytes => "gigabytes",
            Resource::PerVolumeGigabytes => "per_volume_gigabytes",
            Resource::Backups => "backups",
            Resource::BackupGigabytes => "backup_gigabytes",
            Resource::Groups => "groups",
        }
    }
}

/// A resource of a whole project, or that of one flavor in it.
///
/// Its text is what the database stores: `volumes`, or `volumes_` and the flavor's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuotaKey {
    /// What is limited.
    pub resource: Resource,
    /// In which flavor; none for all of the project.
    pub flavor: Option<FlavorId>,
}

impl QuotaKey {
    /// The resource of a whole project.
    pub fn of_project(resource: Resource) -> Self {
        QuotaKey {
            resource,
            flavor: None,
        }
    }

    /// The resource of one flavor.
    pub fn of_flavor(resource: Resource, flavor: FlavorId) -> Self {
        QuotaKey {
            resource,
            flavor: Some(flavor),
        }
    }

    /// Parses what the database stores.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(resource) = Resource::ALL.into_iter().find(|r| r.as_str() == text) {
            return Some(QuotaKey::of_project(resource));
        }
        Resource::OF_FLAVOR.into_iter().find_map(|resource| {
            let id = text.strip_prefix(resource.as_str())?.strip_prefix('_')?;
            Some(QuotaKey::of_flavor(resource, id.parse().ok()?))
        })
    }
}

impl fmt::Display for QuotaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.resource.as_str())?;
        match self.flavor {
            Some(flavor) => write!(f, "_{flavor}"),
            None => Ok(()),
        }
    }
}

/// What a project has, in all or of one flavor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Volumes.
    pub volumes: u64,
    /// GiB of volumes, of what they are being extended by, and of snapshots.
    pub gigabytes: u64,
    /// Snapshots.
    pub snapshots: u64,
}

impl Usage {
    /// How much of a resource it is; nothing of what is not counted here.
    pub fn of(&self, resource: Resource) -> u64 {
        match resource {
            Resource::Volumes => self.volumes,
            Resource::Snapshots => self.snapshots,
            Resource::Gigabytes => self.gigabytes,
            Resource::PerVolumeGigabytes
            | Resource::Backups
            | Resource::BackupGigabytes
            | Resource::Groups => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn keys_are_parsed_as_they_are_written() {
        let flavor = FlavorId(Uuid::from_u128(7));
        let keys = Resource::ALL
            .map(QuotaKey::of_project)
            .into_iter()
            .chain(Resource::OF_FLAVOR.map(|resource| QuotaKey::of_flavor(resource, flavor)));
        for key in keys {
            assert_eq!(QuotaKey::parse(&key.to_string()), Some(key), "{key}");
        }
        for text in ["", "volumes_", "volumes_gold", "groups_1", "Volumes"] {
            assert_eq!(QuotaKey::parse(text), None, "{text}");
        }
    }
}
