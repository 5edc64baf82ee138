CREATE VIEW counted_usage AS
    SELECT project_id, flavor_id, 1 AS volumes, size_gib AS gigabytes, 0 AS snapshots FROM volumes
    UNION ALL SELECT project_id, flavor_id, 0, size_gib, 1 FROM snapshot_flavors
    UNION ALL SELECT e.project_id, v.flavor_id, 0, e.added_gib, 0 FROM volume_extensions e JOIN volumes v ON v.id = e.volume_id;
CREATE VIEW project_usage AS
    SELECT project_id, CAST(SUM(volumes) AS BIGINT) AS volumes, CAST(SUM(gigabytes) AS BIGINT) AS gigabytes
    FROM type_usage GROUP BY project_id;
CREATE VIEW snapshot_flavors AS
    SELECT s.id AS snapshot_id, s.volume_id, s.project_id, s.size_gib,
        COALESCE((SELECT v.flavor_id FROM volumes v WHERE v.id = s.volume_id),
            (SELECT o.flavor_id FROM snapshot_origins o WHERE o.snapshot_id = s.id),
            (SELECT e.flavor_id FROM snapshot_ebs e WHERE e.snapshot_id = s.id), '') AS flavor_id
    FROM snapshots s;
CREATE VIEW snapshot_usage AS
    SELECT project_id, CAST(SUM(snapshots) AS BIGINT) AS snapshots FROM type_usage GROUP BY project_id;
CREATE TRIGGER attachments_tell_delete AFTER DELETE ON attachments
    WHEN EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (COALESCE((SELECT updated_at_us FROM volumes WHERE id = OLD.volume_id), OLD.created_at_us),
            'attachment.deleted', OLD.project_id, 'attachment', OLD.id,
            '{"previous":"' || OLD.status || '","volume_id":"' || OLD.volume_id || '"}');
END;
CREATE TRIGGER attachments_tell_insert AFTER INSERT ON attachments
    WHEN EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (NEW.created_at_us, 'attachment.' || NEW.status, NEW.project_id, 'attachment', NEW.id,
            '{"status":"' || NEW.status || '","volume_id":"' || NEW.volume_id || '"}');
END;
CREATE TRIGGER attachments_tell_status AFTER UPDATE OF status ON attachments
    WHEN OLD.status <> NEW.status AND EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (COALESCE((SELECT updated_at_us FROM volumes WHERE id = NEW.volume_id), NEW.created_at_us),
            'attachment.' || NEW.status, NEW.project_id, 'attachment', NEW.id,
            '{"status":"' || NEW.status || '","previous":"' || OLD.status || '","volume_id":"' || NEW.volume_id || '"}');
END;
CREATE TRIGGER backend_capabilities_known_delete AFTER DELETE ON backend_capabilities BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER backend_capabilities_known_insert AFTER INSERT ON backend_capabilities BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER backend_capabilities_known_update AFTER UPDATE ON backend_capabilities BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER backends_known_delete AFTER DELETE ON backends BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER backends_known_insert AFTER INSERT ON backends BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER backends_known_update AFTER UPDATE OF flavor_id, zone, position, sr_type, sr_uuid, name_label, name_description, config,
    enabled, state, failure, created_at_us ON backends BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER default_flavors_known_delete AFTER DELETE ON default_flavors BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER default_flavors_known_insert AFTER INSERT ON default_flavors BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER default_flavors_known_update AFTER UPDATE ON default_flavors BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER extensions_count_delete BEFORE DELETE ON volume_extensions BEGIN
    UPDATE type_usage SET gigabytes = gigabytes - OLD.added_gib WHERE project_id = OLD.project_id
        AND flavor_id = (SELECT flavor_id FROM volumes WHERE id = OLD.volume_id);
END;
CREATE TRIGGER extensions_count_insert AFTER INSERT ON volume_extensions BEGIN
    UPDATE type_usage SET gigabytes = gigabytes + NEW.added_gib WHERE project_id = NEW.project_id
        AND flavor_id = (SELECT flavor_id FROM volumes WHERE id = NEW.volume_id);
END;
CREATE TRIGGER flavor_access_known_delete AFTER DELETE ON flavor_access BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER flavor_access_known_insert AFTER INSERT ON flavor_access BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER flavor_access_known_update AFTER UPDATE ON flavor_access BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER flavor_encryption_known_delete AFTER DELETE ON flavor_encryption BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER flavor_encryption_known_insert AFTER INSERT ON flavor_encryption BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER flavor_encryption_known_update AFTER UPDATE ON flavor_encryption BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER flavor_specs_known_delete AFTER DELETE ON flavor_specs BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER flavor_specs_known_insert AFTER INSERT ON flavor_specs BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER flavor_specs_known_update AFTER UPDATE ON flavor_specs BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER flavor_traits_known_delete AFTER DELETE ON flavor_traits BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER flavor_traits_known_insert AFTER INSERT ON flavor_traits BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER flavor_traits_known_update AFTER UPDATE ON flavor_traits BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER flavors_known_delete AFTER DELETE ON flavors BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER flavors_known_insert AFTER INSERT ON flavors BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER flavors_known_update AFTER UPDATE ON flavors BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER group_snapshots_tell_delete AFTER DELETE ON group_snapshots
    WHEN EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (OLD.updated_at_us, 'group_snapshot.deleted', OLD.project_id, 'group_snapshot', OLD.id,
            '{"previous":"' || OLD.status || '"}');
END;
CREATE TRIGGER group_snapshots_tell_insert AFTER INSERT ON group_snapshots
    WHEN EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (NEW.created_at_us, 'group_snapshot.' || NEW.status, NEW.project_id, 'group_snapshot', NEW.id,
            '{"status":"' || NEW.status || '"}');
END;
CREATE TRIGGER group_snapshots_tell_status AFTER UPDATE OF status ON group_snapshots
    WHEN OLD.status <> NEW.status AND EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (NEW.updated_at_us, 'group_snapshot.' || NEW.status, NEW.project_id, 'group_snapshot', NEW.id,
            '{"status":"' || NEW.status || '","previous":"' || OLD.status || '"}');
END;
CREATE TRIGGER quota_class_limits_known_delete AFTER DELETE ON quota_class_limits BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER quota_class_limits_known_insert AFTER INSERT ON quota_class_limits BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER quota_class_limits_known_update AFTER UPDATE ON quota_class_limits BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER quota_limits_known_delete AFTER DELETE ON quota_limits BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER quota_limits_known_insert AFTER INSERT ON quota_limits BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER quota_limits_known_update AFTER UPDATE ON quota_limits BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER service_states_known_delete AFTER DELETE ON service_states BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER service_states_known_insert AFTER INSERT ON service_states BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER service_states_known_update AFTER UPDATE ON service_states BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER snapshots_count_delete BEFORE DELETE ON snapshots BEGIN
    UPDATE type_usage SET snapshots = snapshots - 1, gigabytes = gigabytes - OLD.size_gib WHERE project_id = OLD.project_id
        AND flavor_id = (SELECT flavor_id FROM snapshot_flavors WHERE snapshot_id = OLD.id);
END;
CREATE TRIGGER snapshots_count_insert AFTER INSERT ON snapshots BEGIN
    INSERT INTO type_usage (project_id, flavor_id, volumes, gigabytes, snapshots)
        SELECT project_id, flavor_id, 0, 0, 0 FROM snapshot_flavors f WHERE snapshot_id = NEW.id
        AND NOT EXISTS (SELECT 1 FROM type_usage u WHERE u.project_id = f.project_id AND u.flavor_id = f.flavor_id);
    UPDATE type_usage SET snapshots = snapshots + 1, gigabytes = gigabytes + NEW.size_gib WHERE project_id = NEW.project_id
        AND flavor_id = (SELECT flavor_id FROM snapshot_flavors WHERE snapshot_id = NEW.id);
END;
CREATE TRIGGER snapshots_count_update AFTER UPDATE OF size_gib, project_id ON snapshots BEGIN
    UPDATE type_usage SET snapshots = snapshots - 1, gigabytes = gigabytes - OLD.size_gib WHERE project_id = OLD.project_id
        AND flavor_id = (SELECT flavor_id FROM snapshot_flavors WHERE snapshot_id = NEW.id);
    INSERT INTO type_usage (project_id, flavor_id, volumes, gigabytes, snapshots)
        SELECT project_id, flavor_id, 0, 0, 0 FROM snapshot_flavors f WHERE snapshot_id = NEW.id
        AND NOT EXISTS (SELECT 1 FROM type_usage u WHERE u.project_id = f.project_id AND u.flavor_id = f.flavor_id);
    UPDATE type_usage SET snapshots = snapshots + 1, gigabytes = gigabytes + NEW.size_gib WHERE project_id = NEW.project_id
        AND flavor_id = (SELECT flavor_id FROM snapshot_flavors WHERE snapshot_id = NEW.id);
END;
CREATE TRIGGER snapshots_leave_tokens AFTER DELETE ON snapshots BEGIN
    UPDATE client_tokens SET gone = 1 WHERE target = OLD.id;
END;
CREATE TRIGGER snapshots_tell_delete AFTER DELETE ON snapshots
    WHEN EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (OLD.updated_at_us, 'snapshot.deleted', OLD.project_id, 'snapshot', OLD.id,
            '{"previous":"' || OLD.status || '"}');
END;
CREATE TRIGGER snapshots_tell_insert AFTER INSERT ON snapshots
    WHEN EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (NEW.created_at_us, 'snapshot.' || NEW.status, NEW.project_id, 'snapshot', NEW.id,
            '{"status":"' || NEW.status || '"}');
END;
CREATE TRIGGER snapshots_tell_status AFTER UPDATE OF status ON snapshots
    WHEN OLD.status <> NEW.status AND EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (NEW.updated_at_us, 'snapshot.' || NEW.status, NEW.project_id, 'snapshot', NEW.id,
            '{"status":"' || NEW.status || '","previous":"' || OLD.status || '"}');
END;
CREATE TRIGGER volume_groups_tell_delete AFTER DELETE ON volume_groups
    WHEN EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (OLD.updated_at_us, 'group.deleted', OLD.project_id, 'group', OLD.id,
            '{"previous":"' || OLD.status || '"}');
END;
CREATE TRIGGER volume_groups_tell_insert AFTER INSERT ON volume_groups
    WHEN EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (NEW.created_at_us, 'group.' || NEW.status, NEW.project_id, 'group', NEW.id,
            '{"status":"' || NEW.status || '"}');
END;
CREATE TRIGGER volume_groups_tell_status AFTER UPDATE OF status ON volume_groups
    WHEN OLD.status <> NEW.status AND EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (NEW.updated_at_us, 'group.' || NEW.status, NEW.project_id, 'group', NEW.id,
            '{"status":"' || NEW.status || '","previous":"' || OLD.status || '"}');
END;
CREATE TRIGGER volumes_count_delete BEFORE DELETE ON volumes BEGIN
    DELETE FROM volume_extensions WHERE volume_id = OLD.id;
    UPDATE type_usage SET volumes = volumes - 1, gigabytes = gigabytes - OLD.size_gib
        WHERE project_id = OLD.project_id AND flavor_id = OLD.flavor_id;
END;
CREATE TRIGGER volumes_count_insert AFTER INSERT ON volumes BEGIN
    INSERT INTO type_usage (project_id, flavor_id, volumes, gigabytes, snapshots) SELECT NEW.project_id, NEW.flavor_id, 0, 0, 0
        WHERE NOT EXISTS (SELECT 1 FROM type_usage WHERE project_id = NEW.project_id AND flavor_id = NEW.flavor_id);
    UPDATE type_usage SET volumes = volumes + 1, gigabytes = gigabytes + NEW.size_gib
        WHERE project_id = NEW.project_id AND flavor_id = NEW.flavor_id;
END;
CREATE TRIGGER volumes_count_retype AFTER UPDATE OF flavor_id ON volumes WHEN NEW.flavor_id <> OLD.flavor_id BEGIN
    INSERT INTO type_usage (project_id, flavor_id, volumes, gigabytes, snapshots)
        SELECT DISTINCT project_id, NEW.flavor_id, 0, 0, 0 FROM
            (SELECT project_id FROM snapshots WHERE volume_id = NEW.id
            UNION SELECT project_id FROM volume_extensions WHERE volume_id = NEW.id) AS depending
        WHERE NOT EXISTS (SELECT 1 FROM type_usage u WHERE u.project_id = depending.project_id AND u.flavor_id = NEW.flavor_id);
    UPDATE type_usage SET
        snapshots = snapshots + CASE flavor_id WHEN NEW.flavor_id THEN 1 ELSE -1 END
            * (SELECT COUNT(*) FROM snapshots s WHERE s.volume_id = NEW.id AND s.project_id = type_usage.project_id),
        gigabytes = gigabytes + CASE flavor_id WHEN NEW.flavor_id THEN 1 ELSE -1 END
            * ((SELECT COALESCE(SUM(s.size_gib), 0) FROM snapshots s
                WHERE s.volume_id = NEW.id AND s.project_id = type_usage.project_id)
            + (SELECT COALESCE(SUM(e.added_gib), 0) FROM volume_extensions e
                WHERE e.volume_id = NEW.id AND e.project_id = type_usage.project_id))
        WHERE flavor_id IN (OLD.flavor_id, NEW.flavor_id) AND project_id IN (SELECT project_id FROM snapshots WHERE volume_id = NEW.id
            UNION SELECT project_id FROM volume_extensions WHERE volume_id = NEW.id);
END;
CREATE TRIGGER volumes_count_update AFTER UPDATE OF size_gib, project_id, flavor_id ON volumes BEGIN
    UPDATE type_usage SET volumes = volumes - 1, gigabytes = gigabytes - OLD.size_gib
        WHERE project_id = OLD.project_id AND flavor_id = OLD.flavor_id;
    INSERT INTO type_usage (project_id, flavor_id, volumes, gigabytes, snapshots) SELECT NEW.project_id, NEW.flavor_id, 0, 0, 0
        WHERE NOT EXISTS (SELECT 1 FROM type_usage WHERE project_id = NEW.project_id AND flavor_id = NEW.flavor_id);
    UPDATE type_usage SET volumes = volumes + 1, gigabytes = gigabytes + NEW.size_gib
        WHERE project_id = NEW.project_id AND flavor_id = NEW.flavor_id;
END;
CREATE TRIGGER volumes_leave_tokens AFTER DELETE ON volumes BEGIN
    UPDATE client_tokens SET gone = 1 WHERE target = OLD.id;
END;
CREATE TRIGGER volumes_tell_delete AFTER DELETE ON volumes
    WHEN EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (OLD.updated_at_us, 'volume.deleted', OLD.project_id, 'volume', OLD.id,
            '{"previous":"' || OLD.status || '"}');
END;
CREATE TRIGGER volumes_tell_insert AFTER INSERT ON volumes
    WHEN EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (NEW.created_at_us, 'volume.' || NEW.status, NEW.project_id, 'volume', NEW.id,
            '{"status":"' || NEW.status || '"}');
END;
CREATE TRIGGER volumes_tell_size AFTER UPDATE OF size_gib ON volumes
    WHEN OLD.size_gib <> NEW.size_gib AND EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (NEW.updated_at_us, 'volume.extended', NEW.project_id, 'volume', NEW.id,
            '{"status":"' || NEW.status || '"}');
END;
CREATE TRIGGER volumes_tell_status AFTER UPDATE OF status ON volumes
    WHEN OLD.status <> NEW.status AND EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1) BEGIN
    INSERT INTO events (at_us, kind, project_id, resource_type, resource_id, data)
        VALUES (NEW.updated_at_us, 'volume.' || NEW.status, NEW.project_id, 'volume', NEW.id,
            '{"status":"' || NEW.status || '","previous":"' || OLD.status || '"}');
END;
CREATE TABLE adoptions (
    target TEXT PRIMARY KEY NOT NULL,
    reference TEXT NOT NULL,
    is_uuid INTEGER NOT NULL,
    backend_id INTEGER NOT NULL
) STRICT;
CREATE TABLE app_credential_traits (
    id TEXT PRIMARY KEY NOT NULL REFERENCES application_credentials (id) ON DELETE CASCADE,
    description TEXT NOT NULL,
    unrestricted INTEGER NOT NULL
) STRICT;
CREATE TABLE application_credentials (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    roles TEXT NOT NULL,
    secret_hash TEXT NOT NULL,
    expires_at_us INTEGER,
    created_at_us INTEGER NOT NULL,
    UNIQUE (user_id, name)
) STRICT;
CREATE TABLE attachments (
    id TEXT PRIMARY KEY NOT NULL,
    volume_id TEXT NOT NULL REFERENCES volumes (id),
    project_id TEXT NOT NULL,
    instance_id TEXT,
    host_name TEXT,
    mountpoint TEXT,
    status TEXT NOT NULL,
    read_only INTEGER NOT NULL,
    connector TEXT NOT NULL,
    connection_info TEXT NOT NULL,
    failure TEXT NOT NULL,
    attached_at_us INTEGER,
    detached_at_us INTEGER,
    created_at_us INTEGER NOT NULL
) STRICT;
CREATE TABLE backend_capabilities (
    backend_id INTEGER PRIMARY KEY NOT NULL REFERENCES backends (id) ON DELETE CASCADE,
    capabilities TEXT NOT NULL
) STRICT;
CREATE TABLE backends (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    flavor_id TEXT NOT NULL REFERENCES flavors (id),
    zone TEXT NOT NULL,
    position INTEGER NOT NULL,
    sr_type TEXT NOT NULL,
    sr_uuid TEXT UNIQUE,
    name_label TEXT NOT NULL,
    name_description TEXT NOT NULL,
    config TEXT NOT NULL,
    secrets BLOB NOT NULL,
    enabled INTEGER NOT NULL,
    state TEXT NOT NULL,
    failure TEXT NOT NULL,
    physical_size INTEGER,
    physical_utilisation INTEGER,
    virtual_allocation INTEGER,
    observed_at_us INTEGER,
    created_at_us INTEGER NOT NULL
) STRICT;
CREATE TABLE client_tokens (
    project_id TEXT NOT NULL,
    -- Each action has tokens of its own.
    action TEXT NOT NULL,
    token TEXT NOT NULL,
    digest TEXT NOT NULL,
    -- The id of what was made; it may be gone, or have another owner now.
    target TEXT NOT NULL,
    created_at_us INTEGER NOT NULL,
    -- 1 once what was made is gone; triggers say so, whoever removes it.
    gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (project_id, action, token)
) STRICT;
CREATE TABLE default_flavors (
    project_id TEXT PRIMARY KEY NOT NULL,
    flavor_id TEXT NOT NULL REFERENCES flavors (id)
) STRICT;
CREATE TABLE deliveries (
    webhook_id TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    event_id INTEGER NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    PRIMARY KEY (webhook_id, event_id)
) STRICT;
CREATE TABLE direct_blocks (
    volume_id TEXT NOT NULL REFERENCES direct_uploads (volume_id) ON DELETE CASCADE,
    block INTEGER NOT NULL,
    checksum TEXT NOT NULL,
    PRIMARY KEY (volume_id, block)
) STRICT;
CREATE TABLE direct_parents (
    snapshot_id TEXT PRIMARY KEY NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE,
    -- It may be gone.
    parent_id TEXT NOT NULL
) STRICT;
CREATE TABLE direct_uploads (
    volume_id TEXT PRIMARY KEY NOT NULL,
    -- It may be gone.
    snapshot_id TEXT NOT NULL UNIQUE,
    timeout_us INTEGER NOT NULL,
    -- When it is given up, unless another block is written.
    deadline_us INTEGER NOT NULL,
    -- open, sealed, failed
    state TEXT NOT NULL,
    failure TEXT NOT NULL
) STRICT;
CREATE TABLE ec2_keys (
    access_key TEXT PRIMARY KEY NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    sealed_secret BLOB NOT NULL,
    created_at_us INTEGER NOT NULL
) STRICT;
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    at_us INTEGER NOT NULL,
    kind TEXT NOT NULL,
    project_id TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    data TEXT NOT NULL
) STRICT;
CREATE TABLE flavor_access (
    flavor_id TEXT NOT NULL REFERENCES flavors (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL,
    PRIMARY KEY (flavor_id, project_id)
) STRICT;
CREATE TABLE flavor_encryption (
    flavor_id TEXT PRIMARY KEY NOT NULL REFERENCES flavors (id) ON DELETE CASCADE,
    id TEXT NOT NULL UNIQUE,
    provider TEXT NOT NULL,
    control_location TEXT NOT NULL,
    cipher TEXT,
    key_size INTEGER,
    created_at_us INTEGER NOT NULL,
    updated_at_us INTEGER NOT NULL
) STRICT;
CREATE TABLE flavor_specs (
    flavor_id TEXT NOT NULL REFERENCES flavors (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (flavor_id, name)
) STRICT;
CREATE TABLE flavor_traits (
    flavor_id TEXT PRIMARY KEY NOT NULL REFERENCES flavors (id) ON DELETE CASCADE,
    is_public INTEGER NOT NULL,
    qos_id TEXT REFERENCES qos_specs (id),
    updated_at_us INTEGER NOT NULL
) STRICT;
CREATE TABLE flavors (
    id TEXT PRIMARY KEY NOT NULL,
    label TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    created_at_us INTEGER NOT NULL
) STRICT;
CREATE TABLE group_flavors (
    group_id TEXT NOT NULL REFERENCES volume_groups (id) ON DELETE CASCADE,
    flavor_id TEXT NOT NULL REFERENCES flavors (id),
    PRIMARY KEY (group_id, flavor_id)
) STRICT;
CREATE TABLE group_snapshots (
    id TEXT PRIMARY KEY NOT NULL,
    group_id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    group_type_id TEXT NOT NULL REFERENCES group_types (id),
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    zone TEXT NOT NULL,
    status TEXT NOT NULL,
    failure TEXT NOT NULL,
    hand_set INTEGER NOT NULL,
    created_at_us INTEGER NOT NULL,
    updated_at_us INTEGER NOT NULL
) STRICT;
CREATE TABLE group_type_specs (
    group_type_id TEXT NOT NULL REFERENCES group_types (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (group_type_id, name)
) STRICT;
CREATE TABLE group_types (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    is_public INTEGER NOT NULL,
    created_at_us INTEGER NOT NULL,
    updated_at_us INTEGER NOT NULL
) STRICT;
CREATE TABLE instance_attachments (
    attachment_id TEXT PRIMARY KEY NOT NULL REFERENCES attachments (id) ON DELETE CASCADE,
    -- The VM's uuid; the instance may be gone from its table.
    instance_id TEXT NOT NULL,
    -- Empty in a VM, whose devices all share; in a control domain the project, for there devices are names and no positions.
    scope TEXT NOT NULL,
    -- The position that the device's name stands for; the name itself is the attachment's mountpoint.
    position INTEGER NOT NULL,
    delete_on_termination INTEGER NOT NULL,
    -- The end was asked for without the guest's consent.
    is_forced INTEGER NOT NULL,
    -- The instance is gone for good: where it is wanted the volume goes too.
    is_terminated INTEGER NOT NULL,
    -- The VBD, once it is made.
    vbd_uuid TEXT
) STRICT;
CREATE TABLE instance_projects (
    instance_id TEXT NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL,
    PRIMARY KEY (instance_id, project_id)
) STRICT;
CREATE TABLE instance_tags (
    instance_id TEXT NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (instance_id, project_id, name)
) STRICT;
CREATE TABLE instances (
    -- The VM's uuid.
    id TEXT PRIMARY KEY NOT NULL,
    -- `i-` and the first 17 digits of it.
    ec2_id TEXT NOT NULL,
    zone TEXT NOT NULL,
    name TEXT NOT NULL,
    -- As XenAPI has it: `Running`, `Halted`, `Paused`, `Suspended`.
    power_state TEXT NOT NULL,
    is_control_domain INTEGER NOT NULL,
    instance_type TEXT NOT NULL,
    vcpus INTEGER NOT NULL,
    memory_mib INTEGER NOT NULL,
    started_at_us INTEGER NOT NULL,
    -- Its block devices, as JSON.
    devices TEXT NOT NULL,
    created_at_us INTEGER NOT NULL,
    -- Since when the pool does not have it any more.
    gone_at_us INTEGER
) STRICT;
CREATE TABLE known_version (
    one INTEGER PRIMARY KEY NOT NULL CHECK (one = 1),
    version INTEGER NOT NULL
) STRICT;
CREATE TABLE messages (
    id TEXT PRIMARY KEY NOT NULL,
    project_id TEXT NOT NULL,
    request_id TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    action_id TEXT NOT NULL,
    detail_id TEXT NOT NULL,
    text TEXT NOT NULL,
    created_at_us INTEGER NOT NULL,
    expires_at_us INTEGER NOT NULL
) STRICT;
CREATE TABLE operations (
    id TEXT PRIMARY KEY NOT NULL,
    kind TEXT NOT NULL,
    target TEXT NOT NULL,
    zone TEXT NOT NULL,
    state TEXT NOT NULL,
    step INTEGER NOT NULL,
    step_begun INTEGER NOT NULL,
    outputs TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    lease_owner TEXT,
    lease_generation INTEGER NOT NULL,
    lease_expires_at_us INTEGER,
    not_before_us INTEGER NOT NULL,
    failure TEXT NOT NULL,
    request_id TEXT NOT NULL,
    created_at_us INTEGER NOT NULL,
    updated_at_us INTEGER NOT NULL
) STRICT;
CREATE TABLE project_settings (
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (project_id, name)
) STRICT;
CREATE TABLE project_tags (
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    tag TEXT NOT NULL,
    PRIMARY KEY (project_id, tag)
) STRICT;
CREATE TABLE project_traits (
    project_id TEXT PRIMARY KEY NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    enabled INTEGER NOT NULL,
    tokens_after_us INTEGER NOT NULL
) STRICT;
CREATE TABLE projects (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    created_at_us INTEGER NOT NULL
) STRICT;
CREATE TABLE qos_spec_values (
    qos_id TEXT NOT NULL REFERENCES qos_specs (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (qos_id, name)
) STRICT;
CREATE TABLE qos_specs (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL UNIQUE,
    consumer TEXT NOT NULL,
    created_at_us INTEGER NOT NULL,
    updated_at_us INTEGER NOT NULL
) STRICT;
CREATE TABLE quota_class_limits (
    class TEXT NOT NULL,
    resource TEXT NOT NULL,
    hard_limit INTEGER NOT NULL,
    PRIMARY KEY (class, resource)
) STRICT;
CREATE TABLE quota_limits (
    project_id TEXT NOT NULL,
    resource TEXT NOT NULL,
    hard_limit INTEGER NOT NULL,
    PRIMARY KEY (project_id, resource)
) STRICT;
CREATE TABLE retired_srs (
    sr_uuid TEXT PRIMARY KEY NOT NULL,
    zone TEXT NOT NULL,
    retired_at_us INTEGER NOT NULL
) STRICT;
CREATE TABLE retired_vdis (
    vdi_uuid TEXT PRIMARY KEY NOT NULL,
    zone TEXT NOT NULL,
    retired_at_us INTEGER NOT NULL
) STRICT;
CREATE TABLE revoked_tokens (
    audit_id TEXT PRIMARY KEY NOT NULL,
    expires_at_us INTEGER NOT NULL
) STRICT;
CREATE TABLE role_assignments (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    role TEXT NOT NULL,
    PRIMARY KEY (user_id, project_id, role)
) STRICT;
CREATE TABLE service_states (
    binary_name TEXT NOT NULL,
    host TEXT NOT NULL,
    disabled INTEGER NOT NULL,
    reason TEXT NOT NULL,
    frozen INTEGER NOT NULL,
    modified_at_us INTEGER NOT NULL,
    PRIMARY KEY (binary_name, host)
) STRICT;
CREATE TABLE services (
    binary_name TEXT NOT NULL,
    machine TEXT NOT NULL,
    zone TEXT NOT NULL,
    updated_at_us INTEGER NOT NULL,
    PRIMARY KEY (binary_name, machine, zone)
) STRICT;
CREATE TABLE settings (
    name TEXT PRIMARY KEY NOT NULL,
    value BLOB NOT NULL
) STRICT;
CREATE TABLE snapshot_ebs (
    snapshot_id TEXT PRIMARY KEY NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    -- When it was complete; NULL before.
    completed_at_us INTEGER,
    -- The snapshots that were taken at one moment have one.
    set_id TEXT,
    -- 1 for a copy of a snapshot. What it is made from may be gone, or never have been there.
    is_copy INTEGER NOT NULL,
    copied_from TEXT,
    -- Of a copy: what a volume that is made from it takes from the volume of the first snapshot.
    flavor_id TEXT,
    bootable INTEGER NOT NULL,
    -- The key that its content is encrypted with.
    encryption_key_id TEXT,
    -- Whose blocks its own can be compared with: the first volume, when that is not its own.
    lineage TEXT,
    -- Of a copy: in how many minutes it was to be complete.
    completion_minutes INTEGER
) STRICT;
CREATE TABLE snapshot_locks (
    snapshot_id TEXT PRIMARY KEY NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE,
    mode TEXT NOT NULL,
    -- Days from when the snapshot is there, or until a date; one of both.
    days INTEGER,
    until_us INTEGER,
    cool_off_hours INTEGER,
    -- Until when it may be taken back, though its mode forbids that.
    cool_off_until_us INTEGER,
    created_at_us INTEGER NOT NULL,
    -- When what stands above was last said.
    set_at_us INTEGER NOT NULL
) STRICT;
CREATE TABLE snapshot_metadata (
    snapshot_id TEXT NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (snapshot_id, name)
) STRICT;
CREATE TABLE snapshot_origins (
    snapshot_id TEXT PRIMARY KEY NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE,
    flavor_id TEXT NOT NULL,
    bootable INTEGER NOT NULL
) STRICT;
CREATE TABLE snapshot_shares (
    snapshot_id TEXT NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL,
    created_at_us INTEGER NOT NULL,
    PRIMARY KEY (snapshot_id, project_id)
) STRICT;
CREATE TABLE snapshot_traits (
    snapshot_id TEXT PRIMARY KEY NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE,
    group_snapshot_id TEXT,
    progress TEXT,
    hand_set INTEGER NOT NULL
) STRICT;
CREATE TABLE "snapshots" (
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
CREATE TABLE transfers (
    id TEXT PRIMARY KEY NOT NULL,
    volume_id TEXT NOT NULL UNIQUE REFERENCES volumes (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    salt BLOB NOT NULL,
    key_hash BLOB NOT NULL,
    no_snapshots INTEGER NOT NULL,
    source_project_id TEXT NOT NULL,
    created_at_us INTEGER NOT NULL
) STRICT;
CREATE TABLE type_usage (
    project_id TEXT NOT NULL,
    flavor_id TEXT NOT NULL,
    volumes INTEGER NOT NULL,
    gigabytes INTEGER NOT NULL,
    snapshots INTEGER NOT NULL,
    PRIMARY KEY (project_id, flavor_id)
) STRICT;
CREATE TABLE user_traits (
    user_id TEXT PRIMARY KEY NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    email TEXT NOT NULL,
    description TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    -- Tokens that were issued at this time or before it are refused: the password changed, or the user was disabled.
    tokens_after_us INTEGER NOT NULL
) STRICT;
CREATE TABLE users (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    default_project_id TEXT REFERENCES projects (id),
    created_at_us INTEGER NOT NULL
) STRICT;
CREATE TABLE vdi_claims (
    vdi_uuid TEXT PRIMARY KEY NOT NULL,
    target TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE volume_ebs (
    volume_id TEXT PRIMARY KEY NOT NULL REFERENCES volumes (id) ON DELETE CASCADE,
    -- What the volume was asked to do a second: operations, MiB; NULL where its type says it.
    iops INTEGER,
    throughput INTEGER,
    -- How fast the bytes of its snapshot were asked to come, in MiB a second.
    initialization_rate INTEGER,
    -- True when its owner wants it used again after an interruption without being asked.
    auto_enable_io INTEGER NOT NULL
) STRICT;
CREATE TABLE volume_extensions (
    volume_id TEXT PRIMARY KEY NOT NULL REFERENCES volumes (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL,
    added_gib INTEGER NOT NULL CHECK (added_gib > 0)
) STRICT;
CREATE TABLE volume_groups (
    id TEXT PRIMARY KEY NOT NULL,
    project_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    group_type_id TEXT NOT NULL REFERENCES group_types (id),
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    zone TEXT NOT NULL,
    status TEXT NOT NULL,
    -- What it was made from, which may be gone.
    group_snapshot_id TEXT,
    source_group_id TEXT,
    failure TEXT NOT NULL,
    -- An operator set the status by hand: the reconcilers leave it alone.
    hand_set INTEGER NOT NULL,
    created_at_us INTEGER NOT NULL,
    updated_at_us INTEGER NOT NULL
) STRICT;
CREATE TABLE volume_image_metadata (
    volume_id TEXT NOT NULL REFERENCES volumes (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (volume_id, name)
) STRICT;
CREATE TABLE volume_metadata (
    volume_id TEXT NOT NULL REFERENCES volumes (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (volume_id, name)
) STRICT;
CREATE TABLE volume_modifications (
    volume_id TEXT PRIMARY KEY NOT NULL REFERENCES volumes (id) ON DELETE CASCADE,
    state TEXT NOT NULL,
    failure TEXT NOT NULL,
    -- Both as JSON.
    original TEXT NOT NULL,
    target TEXT NOT NULL,
    started_at_us INTEGER NOT NULL,
    ended_at_us INTEGER
) STRICT;
CREATE TABLE volume_sources (
    volume_id TEXT PRIMARY KEY NOT NULL REFERENCES volumes (id) ON DELETE CASCADE,
    source_snapshot_id TEXT,
    source_volume_id TEXT
) STRICT;
CREATE TABLE volume_traits (
    volume_id TEXT PRIMARY KEY NOT NULL REFERENCES volumes (id) ON DELETE CASCADE,
    group_id TEXT,
    multiattach INTEGER NOT NULL,
    -- NULL until somebody says whether it may be written.
    read_only INTEGER,
    encryption_key_id TEXT,
    migration_status TEXT,
    -- True while volume_image_metadata has rows of the volume.
    has_image_metadata INTEGER NOT NULL,
    -- An operator set the status by hand: the reconcilers leave such a volume alone.
    hand_set INTEGER NOT NULL
) STRICT;
CREATE TABLE volumes (
    id TEXT PRIMARY KEY NOT NULL,
    ec2_id TEXT NOT NULL UNIQUE,
    project_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    size_gib INTEGER NOT NULL CHECK (size_gib > 0),
    status TEXT NOT NULL,
    flavor_id TEXT NOT NULL REFERENCES flavors (id),
    zone TEXT NOT NULL,
    backend_id INTEGER REFERENCES backends (id),
    vdi_uuid TEXT,
    bootable INTEGER NOT NULL,
    failure TEXT NOT NULL,
    client_token TEXT,
    client_digest TEXT,
    created_at_us INTEGER NOT NULL,
    -- 0 when never changed: NULL sorts differently in the two databases.
    updated_at_us INTEGER NOT NULL
) STRICT;
CREATE TABLE webhooks (
    id TEXT PRIMARY KEY NOT NULL,
    -- NULL: of every project.
    project_id TEXT,
    url TEXT NOT NULL,
    sealed_secret BLOB NOT NULL,
    -- A prefix of the kinds that are told; empty: all.
    kinds TEXT NOT NULL,
    -- The number of the newest event when it was added: older ones are not told.
    after_event INTEGER NOT NULL,
    -- 1: also addresses of this machine and its links.
    allows_local INTEGER NOT NULL,
    enabled INTEGER NOT NULL,
    -- Of the event that is next: how often it was tried, and when it is tried again.
    attempts INTEGER NOT NULL,
    next_attempt_us INTEGER NOT NULL,
    -- Events that were given up.
    dropped INTEGER NOT NULL,
    failure TEXT NOT NULL,
    -- One process at a time tells; what it has not done by then, another one does.
    leased_until_us INTEGER NOT NULL,
    created_at_us INTEGER NOT NULL
) STRICT;
CREATE TABLE xensm_schema (version BIGINT PRIMARY KEY NOT NULL);
CREATE INDEX attachments_by_created ON attachments (created_at_us, id);
CREATE INDEX attachments_by_project ON attachments (project_id, created_at_us, id);
CREATE INDEX attachments_by_volume ON attachments (volume_id, created_at_us, id);
CREATE INDEX backends_by_flavor ON backends (flavor_id, position, id);
CREATE INDEX backends_by_zone ON backends (zone, id);
CREATE INDEX client_tokens_by_target ON client_tokens (target);
CREATE INDEX client_tokens_gone ON client_tokens (created_at_us) WHERE gone = 1;
CREATE INDEX deliveries_by_event ON deliveries (event_id);
CREATE INDEX ec2_keys_by_user ON ec2_keys (user_id, access_key);
CREATE INDEX flavor_traits_by_qos ON flavor_traits (qos_id) WHERE qos_id IS NOT NULL;
CREATE INDEX group_snapshots_by_group ON group_snapshots (group_id);
CREATE INDEX group_snapshots_by_project ON group_snapshots (project_id, created_at_us, id);
CREATE INDEX group_snapshots_on_their_way ON group_snapshots (zone, status)
    WHERE status <> 'available' AND status <> 'error';
CREATE UNIQUE INDEX instance_attachments_by_position
    ON instance_attachments (instance_id, scope, position);
CREATE INDEX instances_by_ec2_id ON instances (ec2_id);
CREATE INDEX instances_by_zone ON instances (zone, created_at_us, id);
CREATE INDEX messages_by_expiry ON messages (expires_at_us);
CREATE INDEX messages_by_project ON messages (project_id, created_at_us, id);
CREATE INDEX messages_by_resource ON messages (project_id, resource_id, created_at_us, id);
CREATE INDEX operations_due ON operations (zone, not_before_us)
    WHERE state <> 'succeeded' AND state <> 'failed';
CREATE INDEX operations_finished ON operations (updated_at_us)
    WHERE state = 'succeeded' OR state = 'failed';
CREATE INDEX operations_of_extended ON operations (target, created_at_us) WHERE kind = 'extend_volume';
CREATE UNIQUE INDEX operations_unfinished ON operations (target)
    WHERE state <> 'succeeded' AND state <> 'failed';
CREATE INDEX revoked_tokens_by_expiry ON revoked_tokens (expires_at_us);
CREATE INDEX role_assignments_by_project ON role_assignments (project_id, user_id);
CREATE INDEX snapshot_ebs_by_set ON snapshot_ebs (set_id) WHERE set_id IS NOT NULL;
CREATE INDEX snapshot_ebs_by_source ON snapshot_ebs (copied_from) WHERE copied_from IS NOT NULL;
CREATE INDEX snapshot_shares_by_project ON snapshot_shares (project_id, snapshot_id);
CREATE INDEX snapshot_traits_by_group_snapshot ON snapshot_traits (group_snapshot_id)
    WHERE group_snapshot_id IS NOT NULL;
CREATE INDEX snapshots_by_backend ON snapshots (backend_id) WHERE backend_id IS NOT NULL;
CREATE INDEX snapshots_by_created ON snapshots (created_at_us, id);
CREATE INDEX snapshots_by_name ON snapshots (name, id);
CREATE INDEX snapshots_by_project_created ON snapshots (project_id, created_at_us, id);
CREATE INDEX snapshots_by_project_id ON snapshots (project_id, id);
CREATE INDEX snapshots_by_project_name ON snapshots (project_id, name, id);
CREATE INDEX snapshots_by_project_size ON snapshots (project_id, size_gib, id);
CREATE INDEX snapshots_by_project_status ON snapshots (project_id, status, id);
CREATE INDEX snapshots_by_project_updated ON snapshots (project_id, updated_at_us, id);
CREATE INDEX snapshots_by_project_volume ON snapshots (project_id, volume_id, id);
CREATE INDEX snapshots_by_volume ON snapshots (volume_id, created_at_us, id);
CREATE INDEX snapshots_by_zone_status ON snapshots (zone, status, created_at_us);
CREATE INDEX transfers_by_project ON transfers (source_project_id, created_at_us, id);
CREATE INDEX volume_groups_by_project ON volume_groups (project_id, created_at_us, id);
CREATE INDEX volume_groups_on_their_way ON volume_groups (zone, status)
    WHERE status <> 'available' AND status <> 'error';
CREATE INDEX volume_sources_by_snapshot ON volume_sources (source_snapshot_id)
    WHERE source_snapshot_id IS NOT NULL;
CREATE INDEX volume_sources_by_volume ON volume_sources (source_volume_id)
    WHERE source_volume_id IS NOT NULL;
CREATE INDEX volume_traits_by_group ON volume_traits (group_id) WHERE group_id IS NOT NULL;
CREATE INDEX volumes_by_backend ON volumes (backend_id) WHERE backend_id IS NOT NULL;
CREATE UNIQUE INDEX volumes_by_client_token ON volumes (project_id, client_token) WHERE client_token IS NOT NULL;
CREATE INDEX volumes_by_created ON volumes (created_at_us, id);
CREATE INDEX volumes_by_project_created ON volumes (project_id, created_at_us, id);
CREATE INDEX volumes_by_status_in_project ON volumes (project_id, status, created_at_us, id);
CREATE INDEX volumes_named ON volumes (name, created_at_us, id);
CREATE INDEX volumes_named_in_project ON volumes (project_id, name, created_at_us, id);
CREATE INDEX volumes_unsettled ON volumes (zone, status, created_at_us)
    WHERE status <> 'available' AND status <> 'in-use';
