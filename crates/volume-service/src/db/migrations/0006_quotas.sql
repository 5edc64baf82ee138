-- Limits that an administrator set. A resource is volumes, snapshots, gigabytes ..., or one of the first three with the id of a flavor
-- behind an underscore: ids, so that renaming a flavor moves nothing.

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
