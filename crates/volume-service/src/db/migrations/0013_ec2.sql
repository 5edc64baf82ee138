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

-- What EC2 says of few volumes: a row only where something is not as usual.

CREATE TABLE IF NOT EXISTS volume_ebs (
    volume_id {text} PRIMARY KEY NOT NULL REFERENCES volumes (id) ON DELETE CASCADE,
    -- What the volume was asked to do a second: operations, MiB; NULL where its type says it.
    iops {int},
    throughput {int},
    -- How fast the bytes of its snapshot were asked to come, in MiB a second.
    initialization_rate {int},
    -- True when its owner wants it used again after an interruption without being asked.
    auto_enable_io {int} NOT NULL
) {strict};

-- The latest modification of each volume: what it was, what it was asked to become, and what came of that.

CREATE TABLE IF NOT EXISTS volume_modifications (
    volume_id {text} PRIMARY KEY NOT NULL REFERENCES volumes (id) ON DELETE CASCADE,
    state {text} NOT NULL,
    failure {text} NOT NULL,
    -- Both as JSON.
    original {text} NOT NULL,
    target {text} NOT NULL,
    started_at_us {int} NOT NULL,
    ended_at_us {int}
) {strict};

-- What EC2 knows of a snapshot and OpenStack does not. The key is judged at the end of the transaction, so that the row of a copy is
-- there when the copy is counted: a copy has no volume that could say its flavor.
CREATE TABLE IF NOT EXISTS snapshot_ebs (
    snapshot_id {text} PRIMARY KEY NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    -- When it was complete; NULL before.
    completed_at_us {int},
    -- The snapshots that were taken at one moment have one.
    set_id {text},
    -- 1 for a copy of a snapshot. What it is made from may be gone, or never have been there.
    is_copy {int} NOT NULL,
    copied_from {text},
    -- Of a copy: what a volume that is made from it takes from the volume of the first snapshot.
    flavor_id {text},
    bootable {int} NOT NULL,
    -- The key that its content is encrypted with.
    encryption_key_id {text},
    -- Whose blocks its own can be compared with: the first volume, when that is not its own.
    lineage {text},
    -- Of a copy: in how many minutes it was to be complete.
    completion_minutes {int}
) {strict};
CREATE INDEX IF NOT EXISTS snapshot_ebs_by_set ON snapshot_ebs (set_id) WHERE set_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS snapshot_ebs_by_source ON snapshot_ebs (copied_from) WHERE copied_from IS NOT NULL;
-- Of the snapshots that there are, those of encrypted volumes are encrypted.
INSERT INTO snapshot_ebs (snapshot_id, is_copy, bootable, encryption_key_id)
    SELECT s.id, 0, 0, t.encryption_key_id FROM snapshots s JOIN volume_traits t ON t.volume_id = s.volume_id
    WHERE t.encryption_key_id IS NOT NULL
    ON CONFLICT DO NOTHING;
--@ sqlite
DROP VIEW IF EXISTS snapshot_flavors;
CREATE VIEW snapshot_flavors AS
    SELECT s.id AS snapshot_id, s.volume_id, s.project_id, s.size_gib,
        COALESCE((SELECT v.flavor_id FROM volumes v WHERE v.id = s.volume_id),
            (SELECT o.flavor_id FROM snapshot_origins o WHERE o.snapshot_id = s.id),
            (SELECT e.flavor_id FROM snapshot_ebs e WHERE e.snapshot_id = s.id), '') AS flavor_id
    FROM snapshots s;
--@ postgresql
CREATE OR REPLACE VIEW snapshot_flavors AS
    SELECT s.id AS snapshot_id, s.volume_id, s.project_id, s.size_gib,
        COALESCE((SELECT v.flavor_id FROM volumes v WHERE v.id = s.volume_id),
            (SELECT o.flavor_id FROM snapshot_origins o WHERE o.snapshot_id = s.id),
            (SELECT e.flavor_id FROM snapshot_ebs e WHERE e.snapshot_id = s.id), '') AS flavor_id
    FROM snapshots s;
--@ both

-- Which projects may make volumes of a snapshot and copy it, besides its own; '*' for all.
CREATE TABLE IF NOT EXISTS snapshot_shares (
    snapshot_id {text} NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE,
    project_id {text} NOT NULL,
    created_at_us {int} NOT NULL,
    PRIMARY KEY (snapshot_id, project_id)
) {strict};
CREATE INDEX IF NOT EXISTS snapshot_shares_by_project ON snapshot_shares (project_id, snapshot_id);

-- What keeps a snapshot from being removed until a moment.
CREATE TABLE IF NOT EXISTS snapshot_locks (
    snapshot_id {text} PRIMARY KEY NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE,
    mode {text} NOT NULL,
    -- Days from when the snapshot is there, or until a date; one of both.
    days {int},
    until_us {int},
    cool_off_hours {int},
    -- Until when it may be taken back, though its mode forbids that.
    cool_off_until_us {int},
    created_at_us {int} NOT NULL,
    -- When what stands above was last said.
    set_at_us {int} NOT NULL
) {strict};

-- What a project decides for all of its things: a row only where it is not as usual.
CREATE TABLE IF NOT EXISTS project_settings (
    project_id {text} NOT NULL,
    name {text} NOT NULL,
    value {text} NOT NULL,
    PRIMARY KEY (project_id, name)
) {strict};

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

-- Virtual machines as EC2's instances, as a reconciler last saw them in the zone's pool; also control domains. Never more than what a
-- pool says: a row that is deleted by hand comes back with the next pass.
CREATE TABLE IF NOT EXISTS instances (
    -- The VM's uuid.
    id {text} PRIMARY KEY NOT NULL,
    -- `i-` and the first 17 digits of it.
    ec2_id {text} NOT NULL,
    zone {text} NOT NULL,
    name {text} NOT NULL,
    -- As XenAPI has it: `Running`, `Halted`, `Paused`, `Suspended`.
    power_state {text} NOT NULL,
    is_control_domain {int} NOT NULL,
    instance_type {text} NOT NULL,
    vcpus {int} NOT NULL,
    memory_mib {int} NOT NULL,
    started_at_us {int} NOT NULL,
    -- Its block devices, as JSON.
    devices {text} NOT NULL,
    created_at_us {int} NOT NULL,
    -- Since when the pool does not have it any more.
    gone_at_us {int}
) {strict};
CREATE INDEX IF NOT EXISTS instances_by_ec2_id ON instances (ec2_id);
CREATE INDEX IF NOT EXISTS instances_by_zone ON instances (zone, created_at_us, id);

-- Which projects may see an instance and attach to it; the project `*` stands for every one.
CREATE TABLE IF NOT EXISTS instance_projects (
    instance_id {text} NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    project_id {text} NOT NULL,
    PRIMARY KEY (instance_id, project_id)
) {strict};

-- Tags of instances. An instance may be several projects', and each has tags of its own.
CREATE TABLE IF NOT EXISTS instance_tags (
    instance_id {text} NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    project_id {text} NOT NULL,
    name {text} NOT NULL,
    value {text} NOT NULL,
    PRIMARY KEY (instance_id, project_id, name)
) {strict};

-- Attachments that this service itself makes in an instance, which no compute service does.
CREATE TABLE IF NOT EXISTS instance_attachments (
    attachment_id {text} PRIMARY KEY NOT NULL REFERENCES attachments (id) ON DELETE CASCADE,
    -- The VM's uuid; the instance may be gone from its table.
    instance_id {text} NOT NULL,
    -- Empty in a VM, whose devices all share; in a control domain the project, for there devices are names and no positions.
    scope {text} NOT NULL,
    -- The position that the device's name stands for; the name itself is the attachment's mountpoint.
    position {int} NOT NULL,
    delete_on_termination {int} NOT NULL,
    -- The end was asked for without the guest's consent.
    is_forced {int} NOT NULL,
    -- The instance is gone for good: where it is wanted the volume goes too.
    is_terminated {int} NOT NULL,
    -- The VBD, once it is made.
    vbd_uuid {text}
) {strict};
CREATE UNIQUE INDEX IF NOT EXISTS instance_attachments_by_position
    ON instance_attachments (instance_id, scope, position);
