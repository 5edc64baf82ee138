-- The first schema. {int}, {text}, {bytes}, {serial} and {strict} stand for the database's own words; a part that only one
-- database understands stands between "--@ sqlite" or "--@ postgresql" and "--@ both". Applying it twice is harmless.

CREATE TABLE IF NOT EXISTS settings (
    name {text} PRIMARY KEY NOT NULL,
    value {bytes} NOT NULL
) {strict};

CREATE TABLE IF NOT EXISTS flavors (
    id {text} PRIMARY KEY NOT NULL,
    label {text} NOT NULL UNIQUE,
    description {text} NOT NULL,
    created_at_us {int} NOT NULL
) {strict};

CREATE TABLE IF NOT EXISTS backends (
    id {serial},
    flavor_id {text} NOT NULL REFERENCES flavors (id),
    zone {text} NOT NULL,
    position {int} NOT NULL,
    sr_type {text} NOT NULL,
    sr_uuid {text} UNIQUE,
    name_label {text} NOT NULL,
    name_description {text} NOT NULL,
    config {text} NOT NULL,
    secrets {bytes} NOT NULL,
    enabled {int} NOT NULL,
    state {text} NOT NULL,
    failure {text} NOT NULL,
    physical_size {int},
    physical_utilisation {int},
    virtual_allocation {int},
    observed_at_us {int},
    created_at_us {int} NOT NULL
) {strict};
CREATE INDEX IF NOT EXISTS backends_by_flavor ON backends (flavor_id, position, id);
CREATE INDEX IF NOT EXISTS backends_by_zone ON backends (zone, id);

-- SRs of removed backends, to be forgotten (never destroyed) in their pool.
CREATE TABLE IF NOT EXISTS retired_srs (
    sr_uuid {text} PRIMARY KEY NOT NULL,
    zone {text} NOT NULL,
    retired_at_us {int} NOT NULL
) {strict};

CREATE TABLE IF NOT EXISTS volumes (
    id {text} PRIMARY KEY NOT NULL,
    ec2_id {text} NOT NULL UNIQUE,
    project_id {text} NOT NULL,
    user_id {text} NOT NULL,
    name {text} NOT NULL,
    description {text} NOT NULL,
    size_gib {int} NOT NULL CHECK (size_gib > 0),
    status {text} NOT NULL,
    flavor_id {text} NOT NULL REFERENCES flavors (id),
    zone {text} NOT NULL,
    backend_id {int} REFERENCES backends (id),
    vdi_uuid {text},
    bootable {int} NOT NULL,
    failure {text} NOT NULL,
    client_token {text},
    client_digest {text},
    created_at_us {int} NOT NULL,
    -- 0 when never changed: NULL sorts differently in the two databases.
    updated_at_us {int} NOT NULL
) {strict};
CREATE INDEX IF NOT EXISTS volumes_by_created ON volumes (created_at_us, id);
CREATE INDEX IF NOT EXISTS volumes_by_name ON volumes (name, id);
CREATE INDEX IF NOT EXISTS volumes_by_project_id ON volumes (project_id, id);
CREATE INDEX IF NOT EXISTS volumes_by_project_created ON volumes (project_id, created_at_us, id);
CREATE INDEX IF NOT EXISTS volumes_by_project_updated ON volumes (project_id, updated_at_us, id);
CREATE INDEX IF NOT EXISTS volumes_by_project_name ON volumes (project_id, name, id);
CREATE INDEX IF NOT EXISTS volumes_by_project_size ON volumes (project_id, size_gib, id);
CREATE INDEX IF NOT EXISTS volumes_by_project_status ON volumes (project_id, status, id);
CREATE INDEX IF NOT EXISTS volumes_by_project_zone ON volumes (project_id, zone, id);
CREATE INDEX IF NOT EXISTS volumes_by_project_bootable ON volumes (project_id, bootable, id);
CREATE INDEX IF NOT EXISTS volumes_by_flavor ON volumes (flavor_id);
CREATE INDEX IF NOT EXISTS volumes_by_backend ON volumes (backend_id) WHERE backend_id IS NOT NULL;
CREATE UNIQUE INDEX IF NOT EXISTS volumes_by_client_token ON volumes (project_id, client_token) WHERE client_token IS NOT NULL;

CREATE TABLE IF NOT EXISTS volume_metadata (
    volume_id {text} NOT NULL REFERENCES volumes (id) ON DELETE CASCADE,
    name {text} NOT NULL,
    value {text} NOT NULL,
    PRIMARY KEY (volume_id, name)
) {strict};

-- Kept by triggers on volumes, so that a quota costs one row whatever the project holds and cannot drift.
CREATE TABLE IF NOT EXISTS project_usage (
    project_id {text} PRIMARY KEY NOT NULL,
    volumes {int} NOT NULL,
    gigabytes {int} NOT NULL
) {strict};
--@ sqlite
CREATE TRIGGER IF NOT EXISTS volumes_count_insert AFTER INSERT ON volumes BEGIN
    INSERT INTO project_usage (project_id, volumes, gigabytes)
        SELECT NEW.project_id, 0, 0 WHERE NOT EXISTS (SELECT 1 FROM project_usage WHERE project_id = NEW.project_id);
    UPDATE project_usage SET volumes = volumes + 1, gigabytes = gigabytes + NEW.size_gib WHERE project_id = NEW.project_id;
END;
CREATE TRIGGER IF NOT EXISTS volumes_count_delete AFTER DELETE ON volumes BEGIN
    UPDATE project_usage SET volumes = volumes - 1, gigabytes = gigabytes - OLD.size_gib WHERE project_id = OLD.project_id;
END;
CREATE TRIGGER IF NOT EXISTS volumes_count_update AFTER UPDATE OF size_gib, project_id ON volumes BEGIN
    UPDATE project_usage SET volumes = volumes - 1, gigabytes = gigabytes - OLD.size_gib WHERE project_id = OLD.project_id;
    INSERT INTO project_usage (project_id, volumes, gigabytes)
        SELECT NEW.project_id, 0, 0 WHERE NOT EXISTS (SELECT 1 FROM project_usage WHERE project_id = NEW.project_id);
    UPDATE project_usage SET volumes = volumes + 1, gigabytes = gigabytes + NEW.size_gib WHERE project_id = NEW.project_id;
END;
--@ postgresql
CREATE OR REPLACE FUNCTION xensm_count_volume() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        UPDATE project_usage SET volumes = volumes - 1, gigabytes = gigabytes - OLD.size_gib
            WHERE project_id = OLD.project_id;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO project_usage AS usage (project_id, volumes, gigabytes) VALUES (NEW.project_id, 1, NEW.size_gib)
            ON CONFLICT (project_id) DO UPDATE
            SET volumes = usage.volumes + 1, gigabytes = usage.gigabytes + EXCLUDED.gigabytes;
    END IF;
    RETURN NULL;
END $$;
DROP TRIGGER IF EXISTS volumes_count_rows ON volumes;
CREATE TRIGGER volumes_count_rows AFTER INSERT OR DELETE OR UPDATE OF size_gib, project_id ON volumes
    FOR EACH ROW EXECUTE FUNCTION xensm_count_volume();
--@ both

CREATE TABLE IF NOT EXISTS attachments (
    id {text} PRIMARY KEY NOT NULL,
    volume_id {text} NOT NULL REFERENCES volumes (id),
    project_id {text} NOT NULL,
    instance_id {text},
    host_name {text},
    mountpoint {text},
    status {text} NOT NULL,
    read_only {int} NOT NULL,
    connector {text} NOT NULL,
    connection_info {text} NOT NULL,
    failure {text} NOT NULL,
    attached_at_us {int},
    detached_at_us {int},
    created_at_us {int} NOT NULL
) {strict};
CREATE INDEX IF NOT EXISTS attachments_by_volume ON attachments (volume_id, created_at_us, id);
CREATE INDEX IF NOT EXISTS attachments_by_project ON attachments (project_id, created_at_us, id);
CREATE INDEX IF NOT EXISTS attachments_by_created ON attachments (created_at_us, id);

CREATE TABLE IF NOT EXISTS operations (
    id {text} PRIMARY KEY NOT NULL,
    kind {text} NOT NULL,
    target {text} NOT NULL,
    zone {text} NOT NULL,
    state {text} NOT NULL,
    step {int} NOT NULL,
    step_begun {int} NOT NULL,
    outputs {text} NOT NULL,
    attempts {int} NOT NULL,
    lease_owner {text},
    lease_generation {int} NOT NULL,
    lease_expires_at_us {int},
    not_before_us {int} NOT NULL,
    failure {text} NOT NULL,
    request_id {text} NOT NULL,
    created_at_us {int} NOT NULL,
    updated_at_us {int} NOT NULL
) {strict};
-- At most one unfinished operation per target: volume, attachment and backend ids never collide.
CREATE UNIQUE INDEX IF NOT EXISTS operations_unfinished ON operations (target)
    WHERE state <> 'succeeded' AND state <> 'failed';
CREATE INDEX IF NOT EXISTS operations_due ON operations (zone, not_before_us)
    WHERE state <> 'succeeded' AND state <> 'failed';
CREATE INDEX IF NOT EXISTS operations_finished ON operations (updated_at_us)
    WHERE state = 'succeeded' OR state = 'failed';
CREATE INDEX IF NOT EXISTS operations_by_target ON operations (target, created_at_us);

CREATE TABLE IF NOT EXISTS messages (
    id {text} PRIMARY KEY NOT NULL,
    project_id {text} NOT NULL,
    request_id {text} NOT NULL,
    resource_type {text} NOT NULL,
    resource_id {text} NOT NULL,
    action_id {text} NOT NULL,
    detail_id {text} NOT NULL,
    text {text} NOT NULL,
    created_at_us {int} NOT NULL,
    expires_at_us {int} NOT NULL
) {strict};
CREATE INDEX IF NOT EXISTS messages_by_project ON messages (project_id, created_at_us, id);
CREATE INDEX IF NOT EXISTS messages_by_resource ON messages (project_id, resource_id, created_at_us, id);
CREATE INDEX IF NOT EXISTS messages_by_expiry ON messages (expires_at_us);

CREATE TABLE IF NOT EXISTS services (
    binary_name {text} NOT NULL,
    machine {text} NOT NULL,
    zone {text} NOT NULL,
    updated_at_us {int} NOT NULL,
    PRIMARY KEY (binary_name, machine, zone)
) {strict};

CREATE TABLE IF NOT EXISTS projects (
    id {text} PRIMARY KEY NOT NULL,
    name {text} NOT NULL UNIQUE,
    description {text} NOT NULL,
    created_at_us {int} NOT NULL
) {strict};

CREATE TABLE IF NOT EXISTS users (
    id {text} PRIMARY KEY NOT NULL,
    name {text} NOT NULL UNIQUE,
    password_hash {text} NOT NULL,
    default_project_id {text} REFERENCES projects (id),
    created_at_us {int} NOT NULL
) {strict};

CREATE TABLE IF NOT EXISTS role_assignments (
    user_id {text} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    project_id {text} NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    role {text} NOT NULL,
    PRIMARY KEY (user_id, project_id, role)
) {strict};

CREATE TABLE IF NOT EXISTS application_credentials (
    id {text} PRIMARY KEY NOT NULL,
    name {text} NOT NULL,
    user_id {text} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    project_id {text} NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    roles {text} NOT NULL,
    secret_hash {text} NOT NULL,
    expires_at_us {int},
    created_at_us {int} NOT NULL,
    UNIQUE (user_id, name)
) {strict};

CREATE TABLE IF NOT EXISTS ec2_keys (
    access_key {text} PRIMARY KEY NOT NULL,
    user_id {text} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    project_id {text} NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    sealed_secret {bytes} NOT NULL,
    created_at_us {int} NOT NULL
) {strict};

CREATE TABLE IF NOT EXISTS revoked_tokens (
    audit_id {text} PRIMARY KEY NOT NULL,
    expires_at_us {int} NOT NULL
) {strict};
CREATE INDEX IF NOT EXISTS revoked_tokens_by_expiry ON revoked_tokens (expires_at_us);
