-- Snapshots, what volumes were made from, and what they are being extended to. Tables of their own: a program of the version before
-- goes on inserting into volumes, and SQLite cannot add a column twice.

CREATE TABLE IF NOT EXISTS snapshots (
    id {text} PRIMARY KEY NOT NULL,
    ec2_id {text} NOT NULL UNIQUE,
    project_id {text} NOT NULL,
    user_id {text} NOT NULL,
    volume_id {text} NOT NULL REFERENCES volumes (id),
    name {text} NOT NULL,
    description {text} NOT NULL,
    size_gib {int} NOT NULL CHECK (size_gib > 0),
    status {text} NOT NULL,
    zone {text} NOT NULL,
    backend_id {int} REFERENCES backends (id),
    vdi_uuid {text},
    failure {text} NOT NULL,
    created_at_us {int} NOT NULL,
    -- 0 when never changed: NULL sorts differently in the two databases.
    updated_at_us {int} NOT NULL
) {strict};
CREATE INDEX IF NOT EXISTS snapshots_by_created ON snapshots (created_at_us, id);
CREATE INDEX IF NOT EXISTS snapshots_by_name ON snapshots (name, id);
CREATE INDEX IF NOT EXISTS snapshots_by_volume ON snapshots (volume_id, created_at_us, id);
CREATE INDEX IF NOT EXISTS snapshots_by_project_id ON snapshots (project_id, id);
CREATE INDEX IF NOT EXISTS snapshots_by_project_created ON snapshots (project_id, created_at_us, id);
CREATE INDEX IF NOT EXISTS snapshots_by_project_updated ON snapshots (project_id, updated_at_us, id);
CREATE INDEX IF NOT EXISTS snapshots_by_project_name ON snapshots (project_id, name, id);
CREATE INDEX IF NOT EXISTS snapshots_by_project_size ON snapshots (project_id, size_gib, id);
CREATE INDEX IF NOT EXISTS snapshots_by_project_status ON snapshots (project_id, status, id);
CREATE INDEX IF NOT EXISTS snapshots_by_project_volume ON snapshots (project_id, volume_id, id);
CREATE INDEX IF NOT EXISTS snapshots_by_zone_status ON snapshots (zone, status, created_at_us);
CREATE INDEX IF NOT EXISTS snapshots_by_backend ON snapshots (backend_id) WHERE backend_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS volumes_by_zone_status ON volumes (zone, status, created_at_us);

CREATE TABLE IF NOT EXISTS snapshot_metadata (
    snapshot_id {text} NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE,
    name {text} NOT NULL,
    value {text} NOT NULL,
    PRIMARY KEY (snapshot_id, name)
) {strict};

-- What a volume was made from: a snapshot or a volume, neither of which need exist any more.
CREATE TABLE IF NOT EXISTS volume_sources (
    volume_id {text} PRIMARY KEY NOT NULL REFERENCES volumes (id) ON DELETE CASCADE,
    source_snapshot_id {text},
    source_volume_id {text}
) {strict};
CREATE INDEX IF NOT EXISTS volume_sources_by_snapshot ON volume_sources (source_snapshot_id)
    WHERE source_snapshot_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS volume_sources_by_volume ON volume_sources (source_volume_id)
    WHERE source_volume_id IS NOT NULL;

-- A volume that is being extended, and the GiB that it will have more. They count as used from the request on.
CREATE TABLE IF NOT EXISTS volume_extensions (
    volume_id {text} PRIMARY KEY NOT NULL REFERENCES volumes (id) ON DELETE CASCADE,
    project_id {text} NOT NULL,
    added_gib {int} NOT NULL CHECK (added_gib > 0)
) {strict};

-- VDIs that a volume no longer has, to be destroyed in their pool.
CREATE TABLE IF NOT EXISTS retired_vdis (
    vdi_uuid {text} PRIMARY KEY NOT NULL,
    zone {text} NOT NULL,
    retired_at_us {int} NOT NULL
) {strict};

-- How many snapshots a project has. Their GiB are in project_usage beside those of the volumes, for they share a quota.
CREATE TABLE IF NOT EXISTS snapshot_usage (
    project_id {text} PRIMARY KEY NOT NULL,
    snapshots {int} NOT NULL
) {strict};
--@ sqlite
CREATE TRIGGER IF NOT EXISTS snapshots_count_insert AFTER INSERT ON snapshots BEGIN
    INSERT INTO project_usage (project_id, volumes, gigabytes)
        SELECT NEW.project_id, 0, 0 WHERE NOT EXISTS (SELECT 1 FROM project_usage WHERE project_id = NEW.project_id);
    UPDATE project_usage SET gigabytes = gigabytes + NEW.size_gib WHERE project_id = NEW.project_id;
    INSERT INTO snapshot_usage (project_id, snapshots)
        SELECT NEW.project_id, 0 WHERE NOT EXISTS (SELECT 1 FROM snapshot_usage WHERE project_id = NEW.project_id);
    UPDATE snapshot_usage SET snapshots = snapshots + 1 WHERE project_id = NEW.project_id;
END;
CREATE TRIGGER IF NOT EXISTS snapshots_count_delete AFTER DELETE ON snapshots BEGIN
    UPDATE project_usage SET gigabytes = gigabytes - OLD.size_gib WHERE project_id = OLD.project_id;
    UPDATE snapshot_usage SET snapshots = snapshots - 1 WHERE project_id = OLD.project_id;
END;
CREATE TRIGGER IF NOT EXISTS extensions_count_insert AFTER INSERT ON volume_extensions BEGIN
    UPDATE project_usage SET gigabytes = gigabytes + NEW.added_gib WHERE project_id = NEW.project_id;
END;
CREATE TRIGGER IF NOT EXISTS extensions_count_delete AFTER DELETE ON volume_extensions BEGIN
    UPDATE project_usage SET gigabytes = gigabytes - OLD.added_gib WHERE project_id = OLD.project_id;
END;
--@ postgresql
CREATE OR REPLACE FUNCTION xensm_count_snapshot() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        UPDATE project_usage SET gigabytes = gigabytes - OLD.size_gib WHERE project_id = OLD.project_id;
        UPDATE snapshot_usage SET snapshots = snapshots - 1 WHERE project_id = OLD.project_id;
    ELSE
        INSERT INTO project_usage AS usage (project_id, volumes, gigabytes) VALUES (NEW.project_id, 0, NEW.size_gib)
            ON CONFLICT (project_id) DO UPDATE SET gigabytes = usage.gigabytes + EXCLUDED.gigabytes;
        INSERT INTO snapshot_usage AS usage (project_id, snapshots) VALUES (NEW.project_id, 1)
            ON CONFLICT (project_id) DO UPDATE SET snapshots = usage.snapshots + 1;
    END IF;
    RETURN NULL;
END $$;
DROP TRIGGER IF EXISTS snapshots_count_rows ON snapshots;
CREATE TRIGGER snapshots_count_rows AFTER INSERT OR DELETE ON snapshots
    FOR EACH ROW EXECUTE FUNCTION xensm_count_snapshot();
CREATE OR REPLACE FUNCTION xensm_count_extension() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        UPDATE project_usage SET gigabytes = gigabytes - OLD.added_gib WHERE project_id = OLD.project_id;
    ELSE
        UPDATE project_usage SET gigabytes = gigabytes + NEW.added_gib WHERE project_id = NEW.project_id;
    END IF;
    RETURN NULL;
END $$;
DROP TRIGGER IF EXISTS extensions_count_rows ON volume_extensions;
CREATE TRIGGER extensions_count_rows AFTER INSERT OR DELETE ON volume_extensions
    FOR EACH ROW EXECUTE FUNCTION xensm_count_extension();
--@ both
