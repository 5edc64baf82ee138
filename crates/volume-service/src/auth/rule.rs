//! The names of Cinder's policies and who passes them when no policy file says otherwise.
//!
//! Source: the policies of Cinder 29, whose names operators write into their policy files.

/// Who passes a rule that the policy file leaves alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultCheck {
    /// Administrators.
    Admin,
    /// Administrators, and members of the project that owns the object.
    Member,
    /// Administrators, and readers of the project that owns the object.
    Reader,
}

macro_rules! rules {
    ($($variant:ident = $name:literal, $default:ident;)*) => {
        /// One of Cinder's policies; the variants are its names in camel case.
        #[allow(missing_docs)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $($variant,)*
        }

        impl Rule {
            /// All of them, in the order of their names.
            pub const ALL: &'static [Rule] = &[$(Rule::$variant,)*];

            /// The name in policy files and refusals.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Rule::$variant => $name,)*
                }
            }

            /// Who passes when the policy file says nothing.
            pub const fn default_check(self) -> DefaultCheck {
                match self {
                    $(Rule::$variant => DefaultCheck::$default,)*
                }
            }
        }
    };
}

rules! {
    BackupBackupImport = "backup:backup-import", Admin;
    BackupBackupProjectAttribute = "backup:backup_project_attribute", Admin;
    BackupCreate = "backup:create", Member;
    BackupDelete = "backup:delete", Member;
    BackupExportImport = "backup:export-import", Admin;
    BackupGet = "backup:get", Reader;
    BackupGetAll = "backup:get_all", Reader;
    BackupRestore = "backup:restore", Member;
    BackupUpdate = "backup:update", Member;
    ClustersGet = "clusters:get", Admin;
    ClustersGetAll = "clusters:get_all", Admin;
    ClustersUpdate = "clusters:update", Admin;
    GroupAccessGroupTypesSpecs = "group:access_group_types_specs", Admin;
    GroupCreate = "group:create", Member;
    GroupCreateGroupSnapshot = "group:create_group_snapshot", Member;
    GroupDelete = "group:delete", Member;
    GroupDeleteGroupSnapshot = "group:delete_group_snapshot", Member;
    GroupDisableReplication = "group:disable_replication", Member;
    GroupEnableReplication = "group:enable_replication", Member;
    GroupFailoverReplication = "group:failover_replication", Member;
    GroupGet = "group:get", Reader;
    GroupGetAll = "group:get_all", Reader;
    GroupGetAllGroupSnapshots = "group:get_all_group_snapshots", Reader;
    GroupGetGroupSnapshot = "group:get_group_snapshot", Reader;
    GroupProjectAttribute = "group:group_project_attribute", Admin;
    GroupSnapshotProjectAttribute = "group:group_snapshot_project_attribute", Admin;
    GroupTypesCreate = "group:group_types:create", Admin;
    GroupTypesDelete = "group:group_types:delete", Admin;
    GroupTypesUpdate = "group:group_types:update", Admin;
    GroupTypesSpecsCreate = "group:group_types_specs:create", Admin;
    GroupTypesSpecsDelete = "group:group_types_specs:delete", Admin;
    GroupTypesSpecsGet = "group:group_types_specs:get", Admin;
    GroupTypesSpecsGetAll = "group:group_types_specs:get_all", Admin;
    GroupTypesSpecsUpdate = "group:group_types_specs:update", Admin;
    GroupListReplicationTargets = "group:list_replication_targets", Member;
    GroupResetGroupSnapshotStatus = "group:reset_group_snapshot_status", Admin;
    GroupResetStatus = "group:reset_status", Admin;
    GroupUpdate = "group:update", Member;
    GroupUpdateGroupSnapshot = "group:update_group_snapshot", Member;
    UsedLimits = "limits_extension:used_limits", Reader;
    MessageDelete = "message:delete", Member;
    MessageGet = "message:get", Reader;
    MessageGetAll = "message:get_all", Reader;
    SchedulerStatsGetPools = "scheduler_extension:scheduler_stats:get_pools", Admin;
    SnapshotListManageable = "snapshot_extension:list_manageable", Admin;
    SnapshotActionsUpdateSnapshotStatus = "snapshot_extension:snapshot_actions:update_snapshot_status", Member;
    SnapshotManage = "snapshot_extension:snapshot_manage", Admin;
    SnapshotUnmanage = "snapshot_extension:snapshot_unmanage", Admin;
    VolumeAcceptTransfer = "volume:accept_transfer", Member;
    VolumeAttachmentComplete = "volume:attachment_complete", Member;
    VolumeAttachmentCreate = "volume:attachment_create", Member;
    VolumeAttachmentDelete = "volume:attachment_delete", Member;
    VolumeAttachmentUpdate = "volume:attachment_update", Member;
    VolumeCreate = "volume:create", Member;
    VolumeCreateFromImage = "volume:create_from_image", Member;
    VolumeCreateSnapshot = "volume:create_snapshot", Member;
    VolumeCreateTransfer = "volume:create_transfer", Member;
    VolumeCreateVolumeMetadata = "volume:create_volume_metadata", Member;
    VolumeDelete = "volume:delete", Member;
    VolumeDeleteSnapshot = "volume:delete_snapshot", Member;
    VolumeDeleteSnapshotMetadata = "volume:delete_snapshot_metadata", Member;
    VolumeDeleteTransfer = "volume:delete_transfer", Member;
    VolumeDeleteVolumeMetadata = "volume:delete_volume_metadata", Member;
    VolumeExtend = "volume:extend", Member;
    VolumeExtendAttachedVolume = "volume:extend_attached_volume", Member;
    VolumeFailoverHost = "volume:failover_host", Admin;
    VolumeForceDelete = "volume:force_delete", Admin;
    VolumeFreezeHost = "volume:freeze_host", Admin;
    VolumeGet = "volume:get", Reader;
    VolumeGetAll = "volume:get_all", Reader;
    VolumeGetAllSnapshots = "volume:get_all_snapshots", Reader;
    VolumeGetAllTransfers = "volume:get_all_transfers", Reader;
    VolumeGetSnapshot = "volume:get_snapshot", Reader;
    VolumeGetSnapshotMetadata = "volume:get_snapshot_metadata", Reader;
    VolumeGetTransfer = "volume:get_transfer", Reader;
    VolumeGetVolumeMetadata = "volume:get_volume_metadata", Reader;
    VolumeMultiattach = "volume:multiattach", Member;
    VolumeMultiattachBootableVolume = "volume:multiattach_bootable_volume", Member;
    VolumeReimage = "volume:reimage", Member;
    VolumeReimageReserved = "volume:reimage_reserved", Member;
    VolumeRetype = "volume:retype", Member;
    VolumeRevertToSnapshot = "volume:revert_to_snapshot", Member;
    VolumeThawHost = "volume:thaw_host", Admin;
    VolumeUpdate = "volume:update", Member;
    VolumeUpdateReadonlyFlag = "volume:update_readonly_flag", Member;
    VolumeUpdateSnapshot = "volume:update_snapshot", Member;
    VolumeUpdateSnapshotMetadata = "volume:update_snapshot_metadata", Member;
    VolumeUpdateVolumeAdminMetadata = "volume:update_volume_admin_metadata", Admin;
    VolumeUpdateVolumeMetadata = "volume:update_volume_metadata", Member;
    AccessTypesExtraSpecs = "volume_extension:access_types_extra_specs", Reader;
    AccessTypesQosSpecsId = "volume_extension:access_types_qos_specs_id", Admin;
    BackupAdminActionsForceDelete = "volume_extension:backup_admin_actions:force_delete", Admin;
    BackupAdminActionsResetStatus = "volume_extension:backup_admin_actions:reset_status", Admin;
    Capabilities = "volume_extension:capabilities", Admin;
    DefaultGet = "volume_extension:default_get", Admin;
    DefaultGetAll = "volume_extension:default_get_all", Admin;
    DefaultSetOrUpdate = "volume_extension:default_set_or_update", Admin;
    DefaultUnset = "volume_extension:default_unset", Admin;
    ExtendedSnapshotAttributes = "volume_extension:extended_snapshot_attributes", Reader;
    Hosts = "volume_extension:hosts", Admin;
    VolumeListManageable = "volume_extension:list_manageable", Admin;
    QosSpecsManageCreate = "volume_extension:qos_specs_manage:create", Admin;
    QosSpecsManageDelete = "volume_extension:qos_specs_manage:delete", Admin;
    QosSpecsManageGet = "volume_extension:qos_specs_manage:get", Admin;
    QosSpecsManageGetAll = "volume_extension:qos_specs_manage:get_all", Admin;
    QosSpecsManageUpdate = "volume_extension:qos_specs_manage:update", Admin;
    QuotaClassesGet = "volume_extension:quota_classes:get", Admin;
    QuotaClassesUpdate = "volume_extension:quota_classes:update", Admin;
    QuotasDelete = "volume_extension:quotas:delete", Admin;
    QuotasShow = "volume_extension:quotas:show", Reader;
    QuotasUpdate = "volume_extension:quotas:update", Admin;
    ServicesIndex = "volume_extension:services:index", Admin;
    ServicesUpdate = "volume_extension:services:update", Admin;
    SnapshotAdminActionsForceDelete = "volume_extension:snapshot_admin_actions:force_delete", Admin;
    SnapshotAdminActionsResetStatus = "volume_extension:snapshot_admin_actions:reset_status", Admin;
    TypeCreate = "volume_extension:type_create", Admin;
    TypeDelete = "volume_extension:type_delete", Admin;
    TypeGet = "volume_extension:type_get", Reader;
    TypeGetAll = "volume_extension:type_get_all", Reader;
    TypeUpdate = "volume_extension:type_update", Admin;
    TypesExtraSpecsCreate = "volume_extension:types_extra_specs:create", Admin;
    TypesExtraSpecsDelete = "volume_extension:types_extra_specs:delete", Admin;
    TypesExtraSpecsIndex = "volume_extension:types_extra_specs:index", Reader;
    TypesExtraSpecsReadSensitive = "volume_extension:types_extra_specs:read_sensitive", Admin;
    TypesExtraSpecsShow = "volume_extension:types_extra_specs:show", Reader;
    TypesExtraSpecsUpdate = "volume_extension:types_extra_specs:update", Admin;
    VolumeActionsAttach = "volume_extension:volume_actions:attach", Member;
    VolumeActionsBeginDetaching = "volume_extension:volume_actions:begin_detaching", Member;
    VolumeActionsDetach = "volume_extension:volume_actions:detach", Member;
    VolumeActionsInitializeConnection = "volume_extension:volume_actions:initialize_connection", Member;
    VolumeActionsReserve = "volume_extension:volume_actions:reserve", Member;
    VolumeActionsRollDetaching = "volume_extension:volume_actions:roll_detaching", Member;
    VolumeActionsTerminateConnection = "volume_extension:volume_actions:terminate_connection", Member;
    VolumeActionsUnreserve = "volume_extension:volume_actions:unreserve", Member;
    VolumeActionsUploadImage = "volume_extension:volume_actions:upload_image", Member;
    VolumeActionsUploadPublic = "volume_extension:volume_actions:upload_public", Admin;
    VolumeAdminActionsExtendVolumeCompletion = "volume_extension:volume_admin_actions:extend_volume_completion", Admin;
    VolumeAdminActionsForceDelete = "volume_extension:volume_admin_actions:force_delete", Admin;
    VolumeAdminActionsForceDetach = "volume_extension:volume_admin_actions:force_detach", Admin;
    VolumeAdminActionsMigrateVolume = "volume_extension:volume_admin_actions:migrate_volume", Admin;
    VolumeAdminActionsMigrateVolumeCompletion = "volume_extension:volume_admin_actions:migrate_volume_completion", Admin;
    VolumeAdminActionsResetStatus = "volume_extension:volume_admin_actions:reset_status", Admin;
    VolumeEncryptionMetadata = "volume_extension:volume_encryption_metadata", Reader;
    VolumeHostAttribute = "volume_extension:volume_host_attribute", Admin;
    VolumeImageMetadataRemove = "volume_extension:volume_image_metadata:remove", Member;
    VolumeImageMetadataSet = "volume_extension:volume_image_metadata:set", Member;
    VolumeImageMetadataShow = "volume_extension:volume_image_metadata:show", Reader;
    VolumeManage = "volume_extension:volume_manage", Admin;
    VolumeMigStatusAttribute = "volume_extension:volume_mig_status_attribute", Admin;
    VolumeTenantAttribute = "volume_extension:volume_tenant_attribute", Reader;
    VolumeTypeAccess = "volume_extension:volume_type_access", Member;
    VolumeTypeAccessAddProjectAccess = "volume_extension:volume_type_access:addProjectAccess", Admin;
    VolumeTypeAccessGetAllForType = "volume_extension:volume_type_access:get_all_for_type", Admin;
    VolumeTypeAccessRemoveProjectAccess = "volume_extension:volume_type_access:removeProjectAccess", Admin;
    VolumeTypeEncryption = "volume_extension:volume_type_encryption", Admin;
    VolumeTypeEncryptionCreate = "volume_extension:volume_type_encryption:create", Admin;
    VolumeTypeEncryptionDelete = "volume_extension:volume_type_encryption:delete", Admin;
    VolumeTypeEncryptionGet = "volume_extension:volume_type_encryption:get", Admin;
    VolumeTypeEncryptionUpdate = "volume_extension:volume_type_encryption:update", Admin;
    VolumeUnmanage = "volume_extension:volume_unmanage", Admin;
    WorkersCleanup = "workers:cleanup", Admin;
}

impl Rule {
    /// The rule of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Rule::ALL
            .binary_search_by(|rule| rule.name().cmp(name))
            .ok()
            .map(|place| Rule::ALL[place])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_again() {
        assert_eq!(Rule::ALL.len(), 161);
        for rule in Rule::ALL {
            assert_eq!(Rule::of_name(rule.name()), Some(*rule));
        }
        assert_eq!(Rule::of_name("volume:fly"), None);
    }
}
