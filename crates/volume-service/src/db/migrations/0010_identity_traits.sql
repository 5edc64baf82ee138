-- What the Identity API keeps of users, projects and application credentials beyond what a login needs. Without a row: enabled.

CREATE TABLE IF NOT EXISTS user_traits (
    user_id {text} PRIMARY KEY NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    email {text} NOT NULL,
    description {text} NOT NULL,
    enabled {int} NOT NULL
) {strict};

CREATE TABLE IF NOT EXISTS project_traits (
    project_id {text} PRIMARY KEY NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    enabled {int} NOT NULL
) {strict};

CREATE TABLE IF NOT EXISTS project_tags (
    project_id {text} NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    tag {text} NOT NULL,
    PRIMARY KEY (project_id, tag)
) {strict};

CREATE TABLE IF NOT EXISTS app_credential_traits (
    id {text} PRIMARY KEY NOT NULL REFERENCES application_credentials (id) ON DELETE CASCADE,
    description {text} NOT NULL,
    unrestricted {int} NOT NULL
) {strict};
