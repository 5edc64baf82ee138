-- Who wants to be told of what happens, and what happened, until everybody was told. Events are written by triggers, in the
-- transaction of what they tell, and only while there is somebody to tell.

CREATE TABLE IF NOT EXISTS webhooks (
    id {text} PRIMARY KEY NOT NULL,
    -- NULL: of every project.
    project_id {text},
    url {text} NOT NULL,
    sealed_secret {bytes} NOT NULL,
    -- A prefix of the kinds that are told; empty: all.
    kinds {text} NOT NULL,
    -- The number of the newest event when it was added: older ones are not told.
    after_event {int} NOT NULL,
    -- 1: also addresses of this machine and its links.
    allows_local {int} NOT NULL,
    enabled {int} NOT NULL,
    -- Of the event that is next: how often it was tried, and when it is tried again.
    attempts {int} NOT NULL,
    next_attempt_us {int} NOT NULL,
    -- Events that were given up.
    dropped {int} NOT NULL,
    failure {text} NOT NULL,
    -- One process at a time tells; what it has not done by then, another one does.
    leased_until_us {int} NOT NULL,
    created_at_us {int} NOT NULL
) {strict};

CREATE TABLE IF NOT EXISTS events (
    id {serial},
    at_us {int} NOT NULL,
    kind {text} NOT NULL,
    project_id {text} NOT NULL,
    resource_type {text} NOT NULL,
    resource_id {text} NOT NULL,
    data {text} NOT NULL
) {strict};

-- Not a number up to which all were told: transactions commit in another order than they take their numbers.
CREATE TABLE IF NOT EXISTS deliveries (
    webhook_id {text} NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    event_id {int} NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    PRIMARY KEY (webhook_id, event_id)
) {strict};
CREATE INDEX IF NOT EXISTS deliveries_by_event ON deliveries (event_id);

--@ sqlite
CREATE TRIGGER IF NOT EXISTS volumes_tell_insert AFTER INSERT ON volumes
    WHEN EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (NEW.created_at_us, 'volume.' || NEW.status, NEW.project_id, 'volume', NEW.id,
            '{"status":"' || NEW.status || '"}');
END;
CREATE TRIGGER IF NOT EXISTS volumes_tell_status AFTER UPDATE OF status ON volumes
    WHEN OLD.status <> NEW.status AND EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (NEW.updated_at_us, 'volume.' || NEW.status, NEW.project_id, 'volume', NEW.id,
            '{"status":"' || NEW.status || '","previous":"' || OLD.status || '"}');
END;
CREATE TRIGGER IF NOT EXISTS volumes_tell_size AFTER UPDATE OF size_gib ON volumes
    WHEN OLD.size_gib <> NEW.size_gib AND EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (NEW.updated_at_us, 'volume.extended', NEW.project_id, 'volume', NEW.id,
            '{"status":"' || NEW.status || '"}');
END;
CREATE TRIGGER IF NOT EXISTS volumes_tell_delete AFTER DELETE ON volumes
    WHEN EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (OLD.updated_at_us, 'volume.deleted', OLD.project_id, 'volume', OLD.id,
            '{"previous":"' || OLD.status || '"}');
END;
CREATE TRIGGER IF NOT EXISTS snapshots_tell_insert AFTER INSERT ON snapshots
    WHEN EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (NEW.created_at_us, 'snapshot.' || NEW.status, NEW.project_id, 'snapshot', NEW.id,
            '{"status":"' || NEW.status || '"}');
END;
CREATE TRIGGER IF NOT EXISTS snapshots_tell_status AFTER UPDATE OF status ON snapshots
    WHEN OLD.status <> NEW.status AND EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (NEW.updated_at_us, 'snapshot.' || NEW.status, NEW.project_id, 'snapshot', NEW.id,
            '{"status":"' || NEW.status || '","previous":"' || OLD.status || '"}');
END;
CREATE TRIGGER IF NOT EXISTS snapshots_tell_delete AFTER DELETE ON snapshots
    WHEN EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (OLD.updated_at_us, 'snapshot.deleted', OLD.project_id, 'snapshot', OLD.id,
            '{"previous":"' || OLD.status || '"}');
END;
CREATE TRIGGER IF NOT EXISTS attachments_tell_insert AFTER INSERT ON attachments
    WHEN EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (NEW.created_at_us, 'attachment.' || NEW.status, NEW.project_id, 'attachment', NEW.id,
            '{"status":"' || NEW.status || '","volume_id":"' || NEW.volume_id || '"}');
END;
-- Attachments have no time of their last change: their volume's is the nearest.
CREATE TRIGGER IF NOT EXISTS attachments_tell_status AFTER UPDATE OF status ON attachments
    WHEN OLD.status <> NEW.status AND EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (COALESCE((SELECT updated_at_us FROM volumes WHERE id = NEW.volume_id), NEW.created_at_us),
            'attachment.' || NEW.status, NEW.project_id, 'attachment', NEW.id,
            '{"status":"' || NEW.status || '","previous":"' || OLD.status || '","volume_id":"' || NEW.volume_id || '"}');
END;
CREATE TRIGGER IF NOT EXISTS attachments_tell_delete AFTER DELETE ON attachments
    WHEN EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (COALESCE((SELECT updated_at_us FROM volumes WHERE id = OLD.volume_id), OLD.created_at_us),
            'attachment.deleted', OLD.project_id, 'attachment', OLD.id,
            '{"previous":"' || OLD.status || '","volume_id":"' || OLD.volume_id || '"}');
END;
CREATE TRIGGER IF NOT EXISTS volume_groups_tell_insert AFTER INSERT ON volume_groups
    WHEN EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (NEW.created_at_us, 'group.' || NEW.status, NEW.project_id, 'group', NEW.id,
            '{"status":"' || NEW.status || '"}');
END;
CREATE TRIGGER IF NOT EXISTS volume_groups_tell_status AFTER UPDATE OF status ON volume_groups
    WHEN OLD.status <> NEW.status AND EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (NEW.updated_at_us, 'group.' || NEW.status, NEW.project_id, 'group', NEW.id,
            '{"status":"' || NEW.status || '","previous":"' || OLD.status || '"}');
END;
CREATE TRIGGER IF NOT EXISTS volume_groups_tell_delete AFTER DELETE ON volume_groups
    WHEN EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (OLD.updated_at_us, 'group.deleted', OLD.project_id, 'group', OLD.id,
            '{"previous":"' || OLD.status || '"}');
END;
CREATE TRIGGER IF NOT EXISTS group_snapshots_tell_insert AFTER INSERT ON group_snapshots
    WHEN EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (NEW.created_at_us, 'group_snapshot.' || NEW.status, NEW.project_id, 'group_snapshot', NEW.id,
            '{"status":"' || NEW.status || '"}');
END;
CREATE TRIGGER IF NOT EXISTS group_snapshots_tell_status AFTER UPDATE OF status ON group_snapshots
    WHEN OLD.status <> NEW.status AND EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (NEW.updated_at_us, 'group_snapshot.' || NEW.status, NEW.project_id, 'group_snapshot', NEW.id,
            '{"status":"' || NEW.status || '","previous":"' || OLD.status || '"}');
END;
CREATE TRIGGER IF NOT EXISTS group_snapshots_tell_delete AFTER DELETE ON group_snapshots
    WHEN EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (OLD.updated_at_us, 'group_snapshot.deleted', OLD.project_id, 'group_snapshot', OLD.id,
            '{"previous":"' || OLD.status || '"}');
END;
--@ postgresql
CREATE OR REPLACE FUNCTION xensm_tell() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    noun text := TG_ARGV[0];
    kind text := TG_ARGV[1];
BEGIN
    IF NOT EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'DELETE' THEN
        INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
            VALUES (OLD.updated_at_us, noun || '.deleted', OLD.project_id, noun, OLD.id,
                '{"previous":"' || OLD.status || '"}');
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
            VALUES (NEW.created_at_us, noun || '.' || NEW.status, NEW.project_id, noun, NEW.id,
                '{"status":"' || NEW.status || '"}');
    ELSE
        INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
            VALUES (NEW.updated_at_us, noun || '.' || COALESCE(NULLIF(kind, ''), NEW.status), NEW.project_id, noun, NEW.id,
                '{"status":"' || NEW.status || '","previous":"' || OLD.status || '"}');
    END IF;
    RETURN NULL;
END $$;
-- Attachments have no time of their last change: their volume's is the nearest.
CREATE OR REPLACE FUNCTION xensm_tell_attachment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'INSERT' THEN
        INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
            VALUES (NEW.created_at_us, 'attachment.' || NEW.status, NEW.project_id, 'attachment', NEW.id,
                '{"status":"' || NEW.status || '","volume_id":"' || NEW.volume_id || '"}');
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
            VALUES (COALESCE((SELECT updated_at_us FROM volumes WHERE id = NEW.volume_id), NEW.created_at_us),
                'attachment.' || NEW.status, NEW.project_id, 'attachment', NEW.id,
                '{"status":"' || NEW.status || '","previous":"' || OLD.status || '","volume_id":"' || NEW.volume_id || '"}');
    ELSE
        INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
            VALUES (COALESCE((SELECT updated_at_us FROM volumes WHERE id = OLD.volume_id), OLD.created_at_us),
                'attachment.deleted', OLD.project_id, 'attachment', OLD.id,
                '{"previous":"' || OLD.status || '","volume_id":"' || OLD.volume_id || '"}');
    END IF;
    RETURN NULL;
END $$;
DROP TRIGGER IF EXISTS attachments_tell_rows ON attachments;
CREATE TRIGGER attachments_tell_rows AFTER INSERT OR DELETE ON attachments
    FOR EACH ROW EXECUTE FUNCTION xensm_tell_attachment();
DROP TRIGGER IF EXISTS attachments_tell_status ON attachments;
CREATE TRIGGER attachments_tell_status AFTER UPDATE OF status ON attachments
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION xensm_tell_attachment();
DROP TRIGGER IF EXISTS volumes_tell_rows ON volumes;
CREATE TRIGGER volumes_tell_rows AFTER INSERT OR DELETE ON volumes
    FOR EACH ROW EXECUTE FUNCTION xensm_tell('volume', '');
DROP TRIGGER IF EXISTS volumes_tell_status ON volumes;
CREATE TRIGGER volumes_tell_status AFTER UPDATE OF status ON volumes
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION xensm_tell('volume', '');
DROP TRIGGER IF EXISTS volumes_tell_size ON volumes;
CREATE TRIGGER volumes_tell_size AFTER UPDATE OF size_gib ON volumes
    FOR EACH ROW WHEN (OLD.size_gib IS DISTINCT FROM NEW.size_gib) EXECUTE FUNCTION xensm_tell('volume', 'extended');
DROP TRIGGER IF EXISTS snapshots_tell_rows ON snapshots;
CREATE TRIGGER snapshots_tell_rows AFTER INSERT OR DELETE ON snapshots
    FOR EACH ROW EXECUTE FUNCTION xensm_tell('snapshot', '');
DROP TRIGGER IF EXISTS snapshots_tell_status ON snapshots;
CREATE TRIGGER snapshots_tell_status AFTER UPDATE OF status ON snapshots
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION xensm_tell('snapshot', '');
DROP TRIGGER IF EXISTS volume_groups_tell_rows ON volume_groups;
CREATE TRIGGER volume_groups_tell_rows AFTER INSERT OR DELETE ON volume_groups
    FOR EACH ROW EXECUTE FUNCTION xensm_tell('group', '');
DROP TRIGGER IF EXISTS volume_groups_tell_status ON volume_groups;
CREATE TRIGGER volume_groups_tell_status AFTER UPDATE OF status ON volume_groups
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION xensm_tell('group', '');
DROP TRIGGER IF EXISTS group_snapshots_tell_rows ON group_snapshots;
CREATE TRIGGER group_snapshots_tell_rows AFTER INSERT OR DELETE ON group_snapshots
    FOR EACH ROW EXECUTE FUNCTION xensm_tell('group_snapshot', '');
DROP TRIGGER IF EXISTS group_snapshots_tell_status ON group_snapshots;
CREATE TRIGGER group_snapshots_tell_status AFTER UPDATE OF status ON group_snapshots
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION xensm_tell('group_snapshot', '');
--@ both
