-- What EC2's clients call once and may send twice: the token of a request, what the request asked for, and what it made. Kept for
-- a day, and as long as what was made is there, so that a late repetition makes nothing anew.

CREATE TABLE IF NOT EXISTS client_tokens (
    project_id {text} NOT NULL,
    -- Each action has tokens of its own.
    action {text} NOT NULL,
    token {text} NOT NULL,
    digest {text} NOT NULL,
    -- The id of what was made; it may be gone, or have another owner now.
    target {text} NOT NULL,
    created_at_us {int} NOT NULL,
    PRIMARY KEY (project_id, action, token)
) {strict};
CREATE INDEX IF NOT EXISTS client_tokens_by_created ON client_tokens (created_at_us);

-- Until now they stood in the volumes' rows.
INSERT INTO client_tokens (project_id, action, token, digest, target, created_at_us)
    SELECT project_id, 'CreateVolume', client_token, client_digest, id, created_at_us FROM volumes
    WHERE client_token IS NOT NULL
    ON CONFLICT DO NOTHING;
