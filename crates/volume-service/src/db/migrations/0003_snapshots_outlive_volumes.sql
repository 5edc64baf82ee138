-- A snapshot may outlive its volume: no key binds it to the volume's row, and what a volume that is made from it takes from the other
-- is kept beside it.

CREATE TABLE IF NOT EXISTS snapshot_origins (
    snapshot_id {text} PRIMARY KEY NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE,
    flavor_id {text} NOT NULL,
    bootable {int} NOT NULL
) {strict};
--@ postgresql
ALTER TABLE snapshots DROP CONSTRAINT IF EXISTS snapshots_volume_id_fkey;
--@ sqlite
-- A key goes with its table only, and with that whatever hangs on it; triggers do not see that.
CREATE TABLE snapshots_unbound (
    id TEXT PRIMARY KEY NOT NULL,
    ec2_id TEXT NOT NULL UNIQUE,
    project_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    volume_id TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    size_gib INTEGER NOT NULL CHECK (size_gib > 0),
    status TEXT NOT NULL,
    zone TEXT NOT NULL,
    backend_id INTEGER REFERENCES backends (id),
    vdi_uuid TEXT,
    failure TEXT NOT NULL,
    created_at_us INTEGER NOT NULL,
    -- 0 when never changed: NULL sorts differently in the two databases.
    updated_at_us INTEGER NOT NULL
) STRICT;
INSERT INTO snapshots_unbound SELECT id, ec2_id, project_id, user_id, volume_id, name, description, size_gib, status, zone,
    backend_id, vdi_uuid, failure, created_at_us, updated_at_us FROM snapshots;
CREATE TABLE kept_metadata AS SELECT snapshot_id, name, value FROM snapshot_metadata;
CREATE TABLE kept_origins AS SELECT snapshot_id, flavor_id, bootable FROM snapshot_origins;
DROP TABLE snapshots;
ALTER TABLE snapshots_unbound RENAME TO snapshots;
INSERT OR IGNORE INTO snapshot_metadata SELECT snapshot_id, name, value FROM kept_metadata;
INSERT OR IGNORE INTO snapshot_origins SELECT snapshot_id, flavor_id, bootable FROM kept_origins;
DROP TABLE kept_metadata;
DROP TABLE kept_origins;
CREATE INDEX snapshots_by_created ON snapshots (created_at_us, id);
CREATE INDEX snapshots_by_name ON snapshots (name, id);
CREATE INDEX snapshots_by_volume ON snapshots (volume_id, created_at_us, id);
CREATE INDEX snapshots_by_project_id ON snapshots (project_id, id);
CREATE INDEX snapshots_by_project_created ON snapshots (project_id, created_at_us, id);
CREATE INDEX snapshots_by_project_updated ON snapshots (project_id, updated_at_us, id);
CREATE INDEX snapshots_by_project_name ON snapshots (project_id, name, id);
CREATE INDEX snapshots_by_project_size ON snapshots (project_id, size_gib, id);
CREATE INDEX snapshots_by_project_status ON snapshots (project_id, status, id);
CREATE INDEX snapshots_by_project_volume ON snapshots (project_id, volume_id, id);
CREATE INDEX snapshots_by_zone_status ON snapshots (zone, status, created_at_us);
CREATE INDEX snapshots_by_backend ON snapshots (backend_id) WHERE backend_id IS NOT NULL;
CREATE TRIGGER snapshots_count_insert AFTER INSERT ON snapshots BEGIN
    INSERT INTO project_usage (project_id, volumes, gigabytes)
        SELECT NEW.project_id, 0, 0 WHERE NOT EXISTS (SELECT 1 FROM project_usage WHERE project_id = NEW.project_id);
    UPDATE project_usage SET gigabytes = gigabytes + NEW.size_gib WHERE project_id = NEW.project_id;
    INSERT INTO snapshot_usage (project_id, snapshots)
        SELECT NEW.project_id, 0 WHERE NOT EXISTS (SELECT 1 FROM snapshot_usage WHERE project_id = NEW.project_id);
    UPDATE snapshot_usage SET snapshots = snapshots + 1 WHERE project_id = NEW.project_id;
END;
CREATE TRIGGER snapshots_count_delete AFTER DELETE ON snapshots BEGIN
    UPDATE project_usage SET gigabytes = gigabytes - OLD.size_gib WHERE project_id = OLD.project_id;
    UPDATE snapshot_usage SET snapshots = snapshots - 1 WHERE project_id = OLD.project_id;
END;
--@ both
