-- Volumes that one project offers to another. The key is shown once; only its salted hash is kept.

CREATE TABLE IF NOT EXISTS transfers (
    id {text} PRIMARY KEY NOT NULL,
    volume_id {text} NOT NULL UNIQUE REFERENCES volumes (id) ON DELETE CASCADE,
    name {text} NOT NULL,
    salt {bytes} NOT NULL,
    key_hash {bytes} NOT NULL,
    no_snapshots {int} NOT NULL,
    source_project_id {text} NOT NULL,
    created_at_us {int} NOT NULL
) {strict};
CREATE INDEX IF NOT EXISTS transfers_by_project ON transfers (source_project_id, created_at_us, id);
