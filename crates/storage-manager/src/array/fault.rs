//! The numbers and texts by which the drivers of arrays fail.
//!
//! Source: reference arrays 1.7 and 2.7, xenapi-storage 3.3.

use xenapi::Failure;

/// A failure that has a number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A parameter makes no sense.
    Argument,
    /// `netapp`: no `target`.
    NetappTarget,
    /// `netapp`: no `username`.
    NetappUsername,
    /// `netapp`: no `password`.
    NetappPassword,
    /// `netapp`: no `aggregate`, or one that is not there; the document lists those that there are.
    NetappAggregate,
    /// `netapp`: the filer does not answer.
    NetappUnreachable,
    /// `netapp`: the filer refuses the login.
    NetappLogin,
    /// `netapp`: the account may not do that.
    NetappPrivilege,
    /// `netapp`: no more FlexVols.
    NetappFlexVols,
    /// `netapp`: no more snapshots of the FlexVol.
    NetappSnapshots,
    /// `netapp`: no room for a snapshot.
    NetappSnapshotSpace,
    /// `netapp`: the version of ONTAP.
    NetappVersion,
    /// `netapp`: the target does not tell its name.
    NetappTargetName,
    /// `netapp`: the iSCSI service does not run.
    NetappIscsi,
    /// `netapp`: deduplication is not licensed.
    NetappDedupLicence,
    /// `netapp`: deduplication is refused.
    NetappDedup,
    /// `netapp`: the LUN belongs to somebody else.
    NetappLunLock,
    /// The name does not resolve.
    Name,
    /// The iSCSI portal does not answer.
    Portal,
    /// A port that is none.
    Port,
    /// The iSCSI target refuses the login.
    IscsiLogin,
    /// `equal`: no `target`.
    EqualTarget,
    /// `equal`: no `username`.
    EqualUsername,
    /// `equal`: no `password`.
    EqualPassword,
    /// `equal`: no `storagepool`; the document lists those that there are.
    EqualPool,
    /// `equal`: no session is free, or the group does not answer.
    EqualConnection,
    /// `equal`: `snap-reserve-percentage` is none.
    EqualSnapReserve,
    /// `equal`: `snap-depletion` is none.
    EqualSnapDepletion,
    /// `equal`: no room in the pool, or in the reserve of a volume.
    EqualSpace,
    /// `equal`: a snapshot of a snapshot.
    EqualSnapshotOfSnapshot,
    /// `equal`: the account may not do that.
    EqualPermission,
    /// `equal`: the firmware.
    EqualFirmware,
    /// `equal`: the group refuses the login.
    EqualLogin,
    /// `equal`: no such storage pool.
    EqualUnknownPool,
    /// `equal`: `target` is not the address of the group.
    EqualGroupAddress,
    /// `equal`: a value that the group tells makes no sense.
    EqualAnswer,
    /// `equal`: the description of a volume is not as we wrote it.
    EqualDescription,
    /// `equal`: the group ended the session.
    EqualEnd,
}

impl Fault {
    /// The number.
    pub fn number(self) -> u16 {
        self.number_and_text().0
    }

    /// The failure, with a sentence of detail.
    pub fn failure(self, detail: &str) -> Failure {
        self.with_document(detail, "")
    }

    /// The failure, with the document of a discovery.
    pub fn with_document(self, detail: &str, document: &str) -> Failure {
        let (number, text) = self.number_and_text();
        Failure::backend(number, text, detail, document)
    }

    fn number_and_text(self) -> (u16, &'static str) {
        match self {
            Fault::Argument => (1, "Invalid argument"),
            Fault::NetappTarget => (120, "The request is missing the target parameter"),
            Fault::NetappUsername => (121, "The request is missing the username parameter"),
            Fault::NetappPassword => (122, "The request is missing the password parameter"),
            Fault::NetappAggregate => (123, "The request is missing the aggregate parameter"),
            Fault::NetappUnreachable => (124, "Unable to connect to the NetApp filer"),
            Fault::NetappLogin => (125, "The NetApp filer refuses the credentials"),
            Fault::NetappPrivilege => (126, "The account lacks privileges on the NetApp filer"),
            Fault::NetappFlexVols => (127, "The NetApp filer can have no more FlexVols"),
            Fault::NetappSnapshots => (128, "The FlexVol can have no more snapshots"),
            Fault::NetappSnapshotSpace => (129, "The FlexVol has no space for the snapshot"),
            Fault::NetappVersion => (130, "The version of ONTAP is not supported"),
            Fault::NetappTargetName => (131, "Unable to read the IQN of the NetApp target"),
            Fault::NetappIscsi => (132, "The iSCSI service of the NetApp filer does not run"),
            Fault::NetappDedupLicence => (133, "Deduplication (A-SIS) is not licensed"),
            Fault::NetappDedup => (134, "Deduplication (A-SIS) is refused for this aggregate"),
            Fault::NetappLunLock => (135, "The LUN cannot be used exclusively"),
            Fault::Name => (140, "Incorrect DNS name, unable to resolve."),
            Fault::Portal => (141, "Unable to connect to ISCSI service on target"),
            Fault::Port => (142, "The iSCSI port is not valid"),
            Fault::IscsiLogin => (
                68,
                "ISCSI login failed - check access settings for the initiator on the storage, if CHAP is used verify CHAP credentials",
            ),
            Fault::EqualTarget => (160, "The request is missing the target parameter"),
            Fault::EqualUsername => (161, "The request is missing the username parameter"),
            Fault::EqualPassword => (162, "The request is missing the password parameter"),
            Fault::EqualPool => (163, "The request is missing the storagepool parameter"),
            Fault::EqualConnection => (164, "No CLI session of the EqualLogic group is free"),
            Fault::EqualSnapReserve => (165, "The snap-reserve-percentage is not valid"),
            Fault::EqualSnapDepletion => (166, "The snap-depletion is not valid"),
            Fault::EqualSpace => (167, "The EqualLogic volume or pool is out of space"),
            Fault::EqualSnapshotOfSnapshot => (168, "A snapshot of a snapshot is not possible"),
            Fault::EqualPermission => (169, "The EqualLogic group denies permission"),
            Fault::EqualFirmware => (170, "The EqualLogic firmware is not supported"),
            Fault::EqualLogin => (171, "Unable to log on to the EqualLogic group"),
            Fault::EqualUnknownPool => (172, "The EqualLogic storage pool is not valid"),
            Fault::EqualGroupAddress => (173, "The target is not the EqualLogic group address"),
            Fault::EqualAnswer => (174, "The answer of the EqualLogic group is not valid"),
            Fault::EqualDescription => (175, "The description of an EqualLogic volume is damaged"),
            Fault::EqualEnd => (176, "The EqualLogic group ended the CLI session"),
        }
    }
}
