-- What the Identity API keeps of users, projects and application credentials beyond what a login needs. Without a row:
-- enabled, and no token is refused for its age.

CREATE TABLE IF NOT EXISTS user_traits (
    user_id {text} PRIMARY KEY NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    email {text} NOT NULL,
    description {text} NOT NULL,
    enabled {int} NOT NULL,
    -- Tokens that were issued at this time or before it are refused: the password changed, or the user was disabled.
    tokens_after_us {int} NOT NULL
) {strict};

CREATE TABLE IF NOT EXISTS project_traits (
    project_id {text} PRIMARY KEY NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    enabled {int} NOT NULL,
    tokens_after_us {int} NOT NULL
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

CREATE INDEX IF NOT EXISTS role_assignments_by_project ON role_assignments (project_id, user_id);
CREATE INDEX IF NOT EXISTS ec2_keys_by_user ON ec2_keys (user_id, access_key);
