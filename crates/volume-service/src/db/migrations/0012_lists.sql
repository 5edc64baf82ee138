-- Indexes that lists and workers need, and none that they do not: each costs every volume that is made several writes.
--
-- Lists are sorted by what was asked for, then by time and id, so that an index over a filter's column, time and id serves both
-- the filter and the order, whatever a planner believes of how many rows match.

DROP INDEX IF EXISTS volumes_by_name;
DROP INDEX IF EXISTS volumes_by_project_id;
DROP INDEX IF EXISTS volumes_by_project_updated;
DROP INDEX IF EXISTS volumes_by_project_name;
DROP INDEX IF EXISTS volumes_by_project_size;
DROP INDEX IF EXISTS volumes_by_project_status;
DROP INDEX IF EXISTS volumes_by_project_zone;
DROP INDEX IF EXISTS volumes_by_project_bootable;
DROP INDEX IF EXISTS volumes_by_flavor;
DROP INDEX IF EXISTS volumes_by_zone_status;
CREATE INDEX IF NOT EXISTS volumes_named ON volumes (name, created_at_us, id);
CREATE INDEX IF NOT EXISTS volumes_named_in_project ON volumes (project_id, name, created_at_us, id);
CREATE INDEX IF NOT EXISTS volumes_by_status_in_project ON volumes (project_id, status, created_at_us, id);
-- For the reconcilers: what is not at rest.
CREATE INDEX IF NOT EXISTS volumes_unsettled ON volumes (zone, status, created_at_us)
    WHERE status <> 'available' AND status <> 'in-use';

-- Of finished operations only those of one kind are looked up by what they were done to.
DROP INDEX IF EXISTS operations_by_target;
CREATE INDEX IF NOT EXISTS operations_of_extended ON operations (target, created_at_us) WHERE kind = 'extend_volume';
