-- Who wants to be told of what happens, and what happened, until everybody was told.

CREATE TABLE IF NOT EXISTS webhooks (
    id {text} PRIMARY KEY NOT NULL,
    project_id {text},
    url {text} NOT NULL,
    sealed_secret {bytes} NOT NULL,
    kinds {text} NOT NULL,
    enabled {int} NOT NULL,
    cursor {int} NOT NULL,
    failure {text} NOT NULL,
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
CREATE INDEX IF NOT EXISTS events_by_time ON events (at_us);
