-- A version of all that creating a volume reads and administrators rarely change, so that processes may keep it: whoever takes kept rows
-- for granted asks for the version in the same transaction. Triggers, so that whoever changes a row changes the version. It grows by
-- chance, so that a version that was rolled back does not come again with other rows.
-- On PostgreSQL who changes such a row holds the version's until the end. So what workers write all the time has no part in it: the room
-- of backends, when it was observed, and their secrets, which are not kept.

CREATE TABLE IF NOT EXISTS known_version (
    one {int} PRIMARY KEY NOT NULL CHECK (one = 1),
    version {int} NOT NULL
) {strict};
INSERT INTO known_version (one, version) VALUES (1, 1) ON CONFLICT DO NOTHING;

--@ sqlite
CREATE TRIGGER IF NOT EXISTS flavors_known_insert AFTER INSERT ON flavors BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS flavors_known_update AFTER UPDATE ON flavors BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS flavors_known_delete AFTER DELETE ON flavors BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS flavor_traits_known_insert AFTER INSERT ON flavor_traits BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS flavor_traits_known_update AFTER UPDATE ON flavor_traits BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS flavor_traits_known_delete AFTER DELETE ON flavor_traits BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS flavor_specs_known_insert AFTER INSERT ON flavor_specs BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS flavor_specs_known_update AFTER UPDATE ON flavor_specs BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS flavor_specs_known_delete AFTER DELETE ON flavor_specs BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS flavor_access_known_insert AFTER INSERT ON flavor_access BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS flavor_access_known_update AFTER UPDATE ON flavor_access BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS flavor_access_known_delete AFTER DELETE ON flavor_access BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS flavor_encryption_known_insert AFTER INSERT ON flavor_encryption BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS flavor_encryption_known_update AFTER UPDATE ON flavor_encryption BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS flavor_encryption_known_delete AFTER DELETE ON flavor_encryption BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS default_flavors_known_insert AFTER INSERT ON default_flavors BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS default_flavors_known_update AFTER UPDATE ON default_flavors BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS default_flavors_known_delete AFTER DELETE ON default_flavors BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS backends_known_insert AFTER INSERT ON backends BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS backends_known_update AFTER UPDATE OF flavor_id, zone, position, sr_type, sr_uuid, name_label, name_description, config,
    enabled, state, failure, created_at_us ON backends BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS backends_known_delete AFTER DELETE ON backends BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS backend_capabilities_known_insert AFTER INSERT ON backend_capabilities BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS backend_capabilities_known_update AFTER UPDATE ON backend_capabilities BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS backend_capabilities_known_delete AFTER DELETE ON backend_capabilities BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS service_states_known_insert AFTER INSERT ON service_states BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS service_states_known_update AFTER UPDATE ON service_states BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS service_states_known_delete AFTER DELETE ON service_states BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS quota_limits_known_insert AFTER INSERT ON quota_limits BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS quota_limits_known_update AFTER UPDATE ON quota_limits BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS quota_limits_known_delete AFTER DELETE ON quota_limits BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS quota_class_limits_known_insert AFTER INSERT ON quota_class_limits BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS quota_class_limits_known_update AFTER UPDATE ON quota_class_limits BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
CREATE TRIGGER IF NOT EXISTS quota_class_limits_known_delete AFTER DELETE ON quota_class_limits BEGIN
    UPDATE known_version SET version = version + 1 + (random() & 1048575);
END;
--@ postgresql
CREATE OR REPLACE FUNCTION xensm_known() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE known_version SET version = version + 1 + (random() * 1048575)::bigint;
    RETURN NULL;
END $$;
DROP TRIGGER IF EXISTS flavors_known ON flavors;
CREATE TRIGGER flavors_known AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON flavors FOR EACH STATEMENT EXECUTE FUNCTION xensm_known();
DROP TRIGGER IF EXISTS flavor_traits_known ON flavor_traits;
CREATE TRIGGER flavor_traits_known AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON flavor_traits FOR EACH STATEMENT EXECUTE FUNCTION xensm_known();
DROP TRIGGER IF EXISTS flavor_specs_known ON flavor_specs;
CREATE TRIGGER flavor_specs_known AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON flavor_specs FOR EACH STATEMENT EXECUTE FUNCTION xensm_known();
DROP TRIGGER IF EXISTS flavor_access_known ON flavor_access;
CREATE TRIGGER flavor_access_known AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON flavor_access FOR EACH STATEMENT EXECUTE FUNCTION xensm_known();
DROP TRIGGER IF EXISTS flavor_encryption_known ON flavor_encryption;
CREATE TRIGGER flavor_encryption_known AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON flavor_encryption FOR EACH STATEMENT EXECUTE FUNCTION xensm_known();
DROP TRIGGER IF EXISTS default_flavors_known ON default_flavors;
CREATE TRIGGER default_flavors_known AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON default_flavors FOR EACH STATEMENT EXECUTE FUNCTION xensm_known();
DROP TRIGGER IF EXISTS backends_known ON backends;
CREATE TRIGGER backends_known AFTER INSERT OR DELETE OR TRUNCATE ON backends FOR EACH STATEMENT EXECUTE FUNCTION xensm_known();
DROP TRIGGER IF EXISTS backends_known_update ON backends;
CREATE TRIGGER backends_known_update AFTER UPDATE ON backends FOR EACH ROW
    WHEN ((OLD.flavor_id, OLD.zone, OLD.position, OLD.sr_type, OLD.sr_uuid, OLD.name_label, OLD.name_description, OLD.config,
        OLD.enabled, OLD.state, OLD.failure, OLD.created_at_us)
        IS DISTINCT FROM (NEW.flavor_id, NEW.zone, NEW.position, NEW.sr_type, NEW.sr_uuid, NEW.name_label, NEW.name_description, NEW.config,
        NEW.enabled, NEW.state, NEW.failure, NEW.created_at_us))
    EXECUTE FUNCTION xensm_known();
DROP TRIGGER IF EXISTS backend_capabilities_known ON backend_capabilities;
CREATE TRIGGER backend_capabilities_known AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON backend_capabilities FOR EACH STATEMENT EXECUTE FUNCTION xensm_known();
DROP TRIGGER IF EXISTS service_states_known ON service_states;
CREATE TRIGGER service_states_known AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON service_states FOR EACH STATEMENT EXECUTE FUNCTION xensm_known();
DROP TRIGGER IF EXISTS quota_limits_known ON quota_limits;
CREATE TRIGGER quota_limits_known AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON quota_limits FOR EACH STATEMENT EXECUTE FUNCTION xensm_known();
DROP TRIGGER IF EXISTS quota_class_limits_known ON quota_class_limits;
CREATE TRIGGER quota_class_limits_known AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON quota_class_limits FOR EACH STATEMENT EXECUTE FUNCTION xensm_known();
--@ both
