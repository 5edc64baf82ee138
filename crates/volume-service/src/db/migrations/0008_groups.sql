-- Groups of volumes, their types and their snapshots.

CREATE TABLE IF NOT EXISTS group_types (
    id {text} PRIMARY KEY NOT NULL,
    name {text} NOT NULL UNIQUE,
    description {text} NOT NULL,
    is_public {int} NOT NULL,
    created_at_us {int} NOT NULL,
    updated_at_us {int} NOT NULL
) {strict};

CREATE TABLE IF NOT EXISTS group_type_specs (
    group_type_id {text} NOT NULL REFERENCES group_types (id) ON DELETE CASCADE,
    name {text} NOT NULL,
    value {text} NOT NULL,
    PRIMARY KEY (group_type_id, name)
) {strict};

CREATE TABLE IF NOT EXISTS volume_groups (
    id {text} PRIMARY KEY NOT NULL,
    project_id {text} NOT NULL,
    user_id {text} NOT NULL,
    group_type_id {text} NOT NULL REFERENCES group_types (id),
    name {text} NOT NULL,
    description {text} NOT NULL,
    zone {text} NOT NULL,
    status {text} NOT NULL,
    -- What it was made from, which may be gone.
    group_snapshot_id {text},
    source_group_id {text},
    failure {text} NOT NULL,
    -- An operator set the status by hand: the reconcilers leave it alone.
    hand_set {int} NOT NULL,
    created_at_us {int} NOT NULL,
    updated_at_us {int} NOT NULL
) {strict};
CREATE INDEX IF NOT EXISTS volume_groups_by_project ON volume_groups (project_id, created_at_us, id);
CREATE INDEX IF NOT EXISTS volume_groups_on_their_way ON volume_groups (zone, status)
    WHERE status <> 'available' AND status <> 'error';

CREATE TABLE IF NOT EXISTS group_flavors (
    group_id {text} NOT NULL REFERENCES volume_groups (id) ON DELETE CASCADE,
    flavor_id {text} NOT NULL REFERENCES flavors (id),
    PRIMARY KEY (group_id, flavor_id)
) {strict};

CREATE TABLE IF NOT EXISTS group_snapshots (
    id {text} PRIMARY KEY NOT NULL,
    group_id {text} NOT NULL,
    project_id {text} NOT NULL,
    user_id {text} NOT NULL,
    group_type_id {text} NOT NULL REFERENCES group_types (id),
    name {text} NOT NULL,
    description {text} NOT NULL,
    zone {text} NOT NULL,
    status {text} NOT NULL,
    failure {text} NOT NULL,
    hand_set {int} NOT NULL,
    created_at_us {int} NOT NULL,
    updated_at_us {int} NOT NULL
) {strict};
CREATE INDEX IF NOT EXISTS group_snapshots_by_project ON group_snapshots (project_id, created_at_us, id);
CREATE INDEX IF NOT EXISTS group_snapshots_by_group ON group_snapshots (group_id);
CREATE INDEX IF NOT EXISTS group_snapshots_on_their_way ON group_snapshots (zone, status)
    WHERE status <> 'available' AND status <> 'error';
