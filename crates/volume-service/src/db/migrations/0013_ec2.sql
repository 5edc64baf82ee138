-- What EC2's clients call once and may send twice: the token of a request, what the request asked for, and what it made. Kept for
-- a day, and as long as what was made is there, so that a late repetition makes nothing anew.
-- One release long versions run that know the columns of the volumes' rows only: those are read and written too.

CREATE TABLE IF NOT EXISTS client_tokens (
    project_id {text} NOT NULL,
    -- Each action has tokens of its own.
    action {text} NOT NULL,
    token {text} NOT NULL,
    digest {text} NOT NULL,
    -- The id of what was made; it may be gone, or have another owner now.
    target {text} NOT NULL,
    created_at_us {int} NOT NULL,
    -- 1 once what was made is gone; triggers say so, whoever removes it.
    gone {int} NOT NULL DEFAULT 0,
    PRIMARY KEY (project_id, action, token)
) {strict};
CREATE INDEX IF NOT EXISTS client_tokens_by_target ON client_tokens (target);
CREATE INDEX IF NOT EXISTS client_tokens_gone ON client_tokens (created_at_us) WHERE gone = 1;
--@ sqlite
CREATE TRIGGER IF NOT EXISTS volumes_leave_tokens AFTER DELETE ON volumes BEGIN
    UPDATE client_tokens SET gone = 1 WHERE target = OLD.id;
END;
CREATE TRIGGER IF NOT EXISTS snapshots_leave_tokens AFTER DELETE ON snapshots BEGIN
    UPDATE client_tokens SET gone = 1 WHERE target = OLD.id;
END;
--@ postgresql
CREATE OR REPLACE FUNCTION xensm_leave_tokens() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE client_tokens SET gone = 1 WHERE target = OLD.id;
    RETURN NULL;
END $$;
DROP TRIGGER IF EXISTS volumes_leave_tokens ON volumes;
CREATE TRIGGER volumes_leave_tokens AFTER DELETE ON volumes FOR EACH ROW EXECUTE FUNCTION xensm_leave_tokens();
DROP TRIGGER IF EXISTS snapshots_leave_tokens ON snapshots;
CREATE TRIGGER snapshots_leave_tokens AFTER DELETE ON snapshots FOR EACH ROW EXECUTE FUNCTION xensm_leave_tokens();
--@ both

-- Until now they stood in the volumes' rows.
INSERT INTO client_tokens (project_id, action, token, digest, target, created_at_us)
    SELECT project_id, 'CreateVolume', client_token, client_digest, id, created_at_us FROM volumes
    WHERE client_token IS NOT NULL
    ON CONFLICT DO NOTHING;

-- Snapshots that clients write block by block, each to a volume of its own, which a snapshot is taken of in the end. The row goes when
-- that volume is gone.
CREATE TABLE IF NOT EXISTS direct_uploads (
    volume_id {text} PRIMARY KEY NOT NULL,
    -- It may be gone.
    snapshot_id {text} NOT NULL UNIQUE,
    timeout_us {int} NOT NULL,
    -- When it is given up, unless another block is written.
    deadline_us {int} NOT NULL,
    -- open, sealed, failed
    state {text} NOT NULL,
    failure {text} NOT NULL
) {strict};

-- The blocks that are written and flushed, with their SHA-256.
CREATE TABLE IF NOT EXISTS direct_blocks (
    volume_id {text} NOT NULL REFERENCES direct_uploads (volume_id) ON DELETE CASCADE,
    block {int} NOT NULL,
    checksum {text} NOT NULL,
    PRIMARY KEY (volume_id, block)
) {strict};

-- What a snapshot that was written began as.
CREATE TABLE IF NOT EXISTS direct_parents (
    snapshot_id {text} PRIMARY KEY NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE,
    -- It may be gone.
    parent_id {text} NOT NULL
) {strict};
