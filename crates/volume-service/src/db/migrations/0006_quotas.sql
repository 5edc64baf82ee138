-- Usage by project and flavor, and the limits that an administrator set. A limit's resource is volumes, snapshots, gigabytes ..., or one
-- of these three with the id of a flavor behind an underscore: ids, so that renaming a flavor moves nothing.

CREATE TABLE IF NOT EXISTS quota_limits (
    project_id {text} NOT NULL,
    resource {text} NOT NULL,
    hard_limit {int} NOT NULL,
    PRIMARY KEY (project_id, resource)
) {strict};

CREATE TABLE IF NOT EXISTS quota_class_limits (
    class {text} NOT NULL,
    resource {text} NOT NULL,
    hard_limit {int} NOT NULL,
    PRIMARY KEY (class, resource)
) {strict};

-- Kept by triggers on volumes, snapshots and extensions, so that a quota costs a row for each flavor that a project uses, whatever it
-- holds, and cannot drift. A snapshot counts for the flavor of its volume.
CREATE TABLE IF NOT EXISTS type_usage (
    project_id {text} NOT NULL,
    flavor_id {text} NOT NULL,
    volumes {int} NOT NULL,
    gigabytes {int} NOT NULL,
    snapshots {int} NOT NULL,
    PRIMARY KEY (project_id, flavor_id)
) {strict};

-- The sums of before become views, which a program of the version before reads as it read the tables. SQLite has no word for dropping
-- a table only where it is one: applied again, this part fails there and changes nothing.
--@ sqlite
DROP TRIGGER IF EXISTS volumes_count_insert;
DROP TRIGGER IF EXISTS volumes_count_delete;
DROP TRIGGER IF EXISTS volumes_count_update;
DROP TRIGGER IF EXISTS snapshots_count_insert;
DROP TRIGGER IF EXISTS snapshots_count_delete;
DROP TRIGGER IF EXISTS extensions_count_insert;
DROP TRIGGER IF EXISTS extensions_count_delete;
DROP TABLE IF EXISTS project_usage;
DROP TABLE IF EXISTS snapshot_usage;
--@ postgresql
DROP TRIGGER IF EXISTS volumes_count_rows ON volumes;
DROP TRIGGER IF EXISTS snapshots_count_rows ON snapshots;
DROP TRIGGER IF EXISTS extensions_count_rows ON volume_extensions;
DO $$
DECLARE
    found TEXT;
BEGIN
    FOR found IN SELECT relname FROM pg_class
        WHERE relname IN ('project_usage', 'snapshot_usage') AND relkind = 'r' AND pg_table_is_visible(oid)
    LOOP
        EXECUTE 'DROP TABLE ' || found;
    END LOOP;
END $$;
--@ both
DROP VIEW IF EXISTS project_usage;
CREATE VIEW project_usage AS
    SELECT project_id, CAST(SUM(volumes) AS BIGINT) AS volumes, CAST(SUM(gigabytes) AS BIGINT) AS gigabytes
    FROM type_usage GROUP BY project_id;
DROP VIEW IF EXISTS snapshot_usage;
CREATE VIEW snapshot_usage AS
    SELECT project_id, CAST(SUM(snapshots) AS BIGINT) AS snapshots FROM type_usage GROUP BY project_id;

-- What each row adds to its project's usage: the truth that type_usage is compared with.
DROP VIEW IF EXISTS counted_usage;
DROP VIEW IF EXISTS snapshot_flavors;
CREATE VIEW snapshot_flavors AS
    SELECT s.id AS snapshot_id, s.volume_id, s.project_id, s.size_gib,
        COALESCE((SELECT v.flavor_id FROM volumes v WHERE v.id = s.volume_id),
            (SELECT o.flavor_id FROM snapshot_origins o WHERE o.snapshot_id = s.id), '') AS flavor_id
    FROM snapshots s;
CREATE VIEW counted_usage AS
    SELECT project_id, flavor_id, 1 AS volumes, size_gib AS gigabytes, 0 AS snapshots FROM volumes
    UNION ALL SELECT project_id, flavor_id, 0, size_gib, 1 FROM snapshot_flavors
    UNION ALL SELECT e.project_id, v.flavor_id, 0, e.added_gib, 0 FROM volume_extensions e JOIN volumes v ON v.id = e.volume_id;

--@ sqlite
CREATE TRIGGER volumes_count_insert AFTER INSERT ON volumes BEGIN
    INSERT INTO type_usage (project_id, flavor_id, volumes, gigabytes, snapshots) SELECT NEW.project_id, NEW.flavor_id, 0, 0, 0
        WHERE NOT EXISTS (SELECT 1 FROM type_usage WHERE project_id = NEW.project_id AND flavor_id = NEW.flavor_id);
    UPDATE type_usage SET volumes = volumes + 1, gigabytes = gigabytes + NEW.size_gib
        WHERE project_id = NEW.project_id AND flavor_id = NEW.flavor_id;
END;
-- Before, for what depends on the volume is counted for its flavor.
CREATE TRIGGER volumes_count_delete BEFORE DELETE ON volumes BEGIN
    DELETE FROM volume_extensions WHERE volume_id = OLD.id;
    UPDATE type_usage SET volumes = volumes - 1, gigabytes = gigabytes - OLD.size_gib
        WHERE project_id = OLD.project_id AND flavor_id = OLD.flavor_id;
END;
CREATE TRIGGER volumes_count_update AFTER UPDATE OF size_gib, project_id, flavor_id ON volumes BEGIN
    UPDATE type_usage SET volumes = volumes - 1, gigabytes = gigabytes - OLD.size_gib
        WHERE project_id = OLD.project_id AND flavor_id = OLD.flavor_id;
    INSERT INTO type_usage (project_id, flavor_id, volumes, gigabytes, snapshots) SELECT NEW.project_id, NEW.flavor_id, 0, 0, 0
        WHERE NOT EXISTS (SELECT 1 FROM type_usage WHERE project_id = NEW.project_id AND flavor_id = NEW.flavor_id);
    UPDATE type_usage SET volumes = volumes + 1, gigabytes = gigabytes + NEW.size_gib
        WHERE project_id = NEW.project_id AND flavor_id = NEW.flavor_id;
END;
-- What depends on a volume goes with it to its new flavor, in whichever project it is.
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
CREATE TRIGGER snapshots_count_insert AFTER INSERT ON snapshots BEGIN
    INSERT INTO type_usage (project_id, flavor_id, volumes, gigabytes, snapshots)
        SELECT project_id, flavor_id, 0, 0, 0 FROM snapshot_flavors f WHERE snapshot_id = NEW.id
        AND NOT EXISTS (SELECT 1 FROM type_usage u WHERE u.project_id = f.project_id AND u.flavor_id = f.flavor_id);
    UPDATE type_usage SET snapshots = snapshots + 1, gigabytes = gigabytes + NEW.size_gib WHERE project_id = NEW.project_id
        AND flavor_id = (SELECT flavor_id FROM snapshot_flavors WHERE snapshot_id = NEW.id);
END;
-- Before, while its flavor can be told.
CREATE TRIGGER snapshots_count_delete BEFORE DELETE ON snapshots BEGIN
    UPDATE type_usage SET snapshots = snapshots - 1, gigabytes = gigabytes - OLD.size_gib WHERE project_id = OLD.project_id
        AND flavor_id = (SELECT flavor_id FROM snapshot_flavors WHERE snapshot_id = OLD.id);
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
CREATE TRIGGER extensions_count_insert AFTER INSERT ON volume_extensions BEGIN
    UPDATE type_usage SET gigabytes = gigabytes + NEW.added_gib WHERE project_id = NEW.project_id
        AND flavor_id = (SELECT flavor_id FROM volumes WHERE id = NEW.volume_id);
END;
CREATE TRIGGER extensions_count_delete BEFORE DELETE ON volume_extensions BEGIN
    UPDATE type_usage SET gigabytes = gigabytes - OLD.added_gib WHERE project_id = OLD.project_id
        AND flavor_id = (SELECT flavor_id FROM volumes WHERE id = OLD.volume_id);
END;
--@ postgresql
-- The lock makes who adds to a project wait for who added to it before, whatever the flavors, so that a limit of the project is judged by
-- all that it has. The first key is "xens" in ASCII.
CREATE OR REPLACE FUNCTION xensm_count(of_project TEXT, of_flavor TEXT, more_volumes BIGINT, more_gigabytes BIGINT,
    more_snapshots BIGINT) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(2019913331, hashtext(of_project));
    INSERT INTO type_usage AS usage (project_id, flavor_id, volumes, gigabytes, snapshots)
        VALUES (of_project, of_flavor, more_volumes, more_gigabytes, more_snapshots)
        ON CONFLICT (project_id, flavor_id) DO UPDATE SET volumes = usage.volumes + EXCLUDED.volumes,
            gigabytes = usage.gigabytes + EXCLUDED.gigabytes, snapshots = usage.snapshots + EXCLUDED.snapshots;
END $$;
CREATE OR REPLACE FUNCTION xensm_count_volume() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM xensm_count(NEW.project_id, NEW.flavor_id, 1, NEW.size_gib, 0);
        RETURN NULL;
    ELSIF TG_OP = 'DELETE' THEN
        -- Before, for what depends on the volume is counted for its flavor.
        DELETE FROM volume_extensions WHERE volume_id = OLD.id;
        PERFORM xensm_count(OLD.project_id, OLD.flavor_id, -1, -OLD.size_gib, 0);
        RETURN OLD;
    END IF;
    -- Two projects are always locked in the same order.
    PERFORM pg_advisory_xact_lock(2019913331, LEAST(hashtext(OLD.project_id), hashtext(NEW.project_id)));
    PERFORM xensm_count(OLD.project_id, OLD.flavor_id, -1, -OLD.size_gib, 0);
    PERFORM xensm_count(NEW.project_id, NEW.flavor_id, 1, NEW.size_gib, 0);
    IF NEW.flavor_id <> OLD.flavor_id THEN
        -- What depends on a volume goes with it to its new flavor, in whichever project it is.
        PERFORM xensm_count(project_id, OLD.flavor_id, 0, -size_gib, -1), xensm_count(project_id, NEW.flavor_id, 0, size_gib, 1)
            FROM snapshots WHERE volume_id = NEW.id;
        PERFORM xensm_count(project_id, OLD.flavor_id, 0, -added_gib, 0), xensm_count(project_id, NEW.flavor_id, 0, added_gib, 0)
            FROM volume_extensions WHERE volume_id = NEW.id;
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION xensm_count_snapshot() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    of_flavor TEXT;
BEGIN
    IF TG_OP = 'DELETE' THEN
        -- Before, while its flavor can be told.
        SELECT flavor_id INTO of_flavor FROM snapshot_flavors WHERE snapshot_id = OLD.id;
        PERFORM xensm_count(OLD.project_id, of_flavor, 0, -OLD.size_gib, -1);
        RETURN OLD;
    END IF;
    SELECT flavor_id INTO of_flavor FROM snapshot_flavors WHERE snapshot_id = NEW.id;
    IF TG_OP = 'UPDATE' THEN
        PERFORM pg_advisory_xact_lock(2019913331, LEAST(hashtext(OLD.project_id), hashtext(NEW.project_id)));
        PERFORM xensm_count(OLD.project_id, of_flavor, 0, -OLD.size_gib, -1);
    END IF;
    PERFORM xensm_count(NEW.project_id, of_flavor, 0, NEW.size_gib, 1);
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION xensm_count_extension() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM xensm_count(OLD.project_id, flavor_id, 0, -OLD.added_gib, 0) FROM volumes WHERE id = OLD.volume_id;
        RETURN OLD;
    END IF;
    PERFORM xensm_count(NEW.project_id, flavor_id, 0, NEW.added_gib, 0) FROM volumes WHERE id = NEW.volume_id;
    RETURN NULL;
END $$;
DROP TRIGGER IF EXISTS volumes_count_removed ON volumes;
DROP TRIGGER IF EXISTS snapshots_count_removed ON snapshots;
DROP TRIGGER IF EXISTS extensions_count_removed ON volume_extensions;
CREATE TRIGGER volumes_count_rows AFTER INSERT OR UPDATE OF size_gib, project_id, flavor_id ON volumes
    FOR EACH ROW EXECUTE FUNCTION xensm_count_volume();
CREATE TRIGGER volumes_count_removed BEFORE DELETE ON volumes FOR EACH ROW EXECUTE FUNCTION xensm_count_volume();
CREATE TRIGGER snapshots_count_rows AFTER INSERT OR UPDATE OF size_gib, project_id ON snapshots
    FOR EACH ROW EXECUTE FUNCTION xensm_count_snapshot();
CREATE TRIGGER snapshots_count_removed BEFORE DELETE ON snapshots FOR EACH ROW EXECUTE FUNCTION xensm_count_snapshot();
CREATE TRIGGER extensions_count_rows AFTER INSERT ON volume_extensions
    FOR EACH ROW EXECUTE FUNCTION xensm_count_extension();
CREATE TRIGGER extensions_count_removed BEFORE DELETE ON volume_extensions
    FOR EACH ROW EXECUTE FUNCTION xensm_count_extension();
--@ both
-- Behind the triggers, whose making keeps other writers out until all is committed.
DELETE FROM type_usage;
INSERT INTO type_usage (project_id, flavor_id, volumes, gigabytes, snapshots)
    SELECT project_id, flavor_id, SUM(volumes), SUM(gigabytes), SUM(snapshots) FROM counted_usage GROUP BY project_id, flavor_id;
