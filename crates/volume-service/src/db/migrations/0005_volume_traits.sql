-- What few volumes and snapshots have: a row stands here only where something is not as usual.

CREATE TABLE IF NOT EXISTS volume_traits (
    volume_id {text} PRIMARY KEY NOT NULL REFERENCES volumes (id) ON DELETE CASCADE,
    group_id {text},
    multiattach {int} NOT NULL,
    -- NULL until somebody says whether it may be written.
    read_only {int},
    encryption_key_id {text},
    migration_status {text},
    -- True while volume_image_metadata has rows of the volume.
    has_image_metadata {int} NOT NULL,
    -- An operator set the status by hand: the reconcilers leave such a volume alone.
    hand_set {int} NOT NULL
) {strict};
CREATE INDEX IF NOT EXISTS volume_traits_by_group ON volume_traits (group_id) WHERE group_id IS NOT NULL;

CREATE TABLE IF NOT EXISTS volume_image_metadata (
    volume_id {text} NOT NULL REFERENCES volumes (id) ON DELETE CASCADE,
    name {text} NOT NULL,
    value {text} NOT NULL,
    PRIMARY KEY (volume_id, name)
) {strict};

CREATE TABLE IF NOT EXISTS snapshot_traits (
    snapshot_id {text} PRIMARY KEY NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE,
    group_snapshot_id {text},
    progress {text},
    hand_set {int} NOT NULL
) {strict};
CREATE INDEX IF NOT EXISTS snapshot_traits_by_group_snapshot ON snapshot_traits (group_snapshot_id)
    WHERE group_snapshot_id IS NOT NULL;

-- Volumes and snapshots that are made of VDIs that are there already, and how the request names those.
CREATE TABLE IF NOT EXISTS adoptions (
    target {text} PRIMARY KEY NOT NULL,
    reference {text} NOT NULL,
    is_uuid {int} NOT NULL,
    backend_id {int} NOT NULL
) {strict};
-- The VDIs that are being adopted, each by one volume or snapshot.
CREATE TABLE IF NOT EXISTS vdi_claims (
    vdi_uuid {text} PRIMARY KEY NOT NULL,
    target {text} NOT NULL UNIQUE
) {strict};
