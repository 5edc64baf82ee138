-- What the Block Storage API knows of a volume type beyond its name: extra specs, access, QoS, encryption, defaults; and what extra
-- specs find at a backend beyond what its driver says. Side tables, so that a flavor that only the command line made needs no row here.

CREATE TABLE IF NOT EXISTS flavor_specs (
    flavor_id {text} NOT NULL REFERENCES flavors (id) ON DELETE CASCADE,
    name {text} NOT NULL,
    value {text} NOT NULL,
    PRIMARY KEY (flavor_id, name)
) {strict};

CREATE TABLE IF NOT EXISTS qos_specs (
    id {text} PRIMARY KEY NOT NULL,
    name {text} NOT NULL UNIQUE,
    consumer {text} NOT NULL,
    created_at_us {int} NOT NULL,
    updated_at_us {int} NOT NULL
) {strict};

CREATE TABLE IF NOT EXISTS qos_spec_values (
    qos_id {text} NOT NULL REFERENCES qos_specs (id) ON DELETE CASCADE,
    name {text} NOT NULL,
    value {text} NOT NULL,
    PRIMARY KEY (qos_id, name)
) {strict};

-- A flavor without a row is public and has no QoS specs.
CREATE TABLE IF NOT EXISTS flavor_traits (
    flavor_id {text} PRIMARY KEY NOT NULL REFERENCES flavors (id) ON DELETE CASCADE,
    is_public {int} NOT NULL,
    qos_id {text} REFERENCES qos_specs (id),
    updated_at_us {int} NOT NULL
) {strict};
CREATE INDEX IF NOT EXISTS flavor_traits_by_qos ON flavor_traits (qos_id) WHERE qos_id IS NOT NULL;

CREATE TABLE IF NOT EXISTS flavor_access (
    flavor_id {text} NOT NULL REFERENCES flavors (id) ON DELETE CASCADE,
    project_id {text} NOT NULL,
    PRIMARY KEY (flavor_id, project_id)
) {strict};

CREATE TABLE IF NOT EXISTS flavor_encryption (
    flavor_id {text} PRIMARY KEY NOT NULL REFERENCES flavors (id) ON DELETE CASCADE,
    id {text} NOT NULL UNIQUE,
    provider {text} NOT NULL,
    control_location {text} NOT NULL,
    cipher {text},
    key_size {int},
    created_at_us {int} NOT NULL,
    updated_at_us {int} NOT NULL
) {strict};

CREATE TABLE IF NOT EXISTS default_flavors (
    project_id {text} PRIMARY KEY NOT NULL,
    flavor_id {text} NOT NULL REFERENCES flavors (id)
) {strict};

-- What an operator says of a backend, as a JSON object of texts.
CREATE TABLE IF NOT EXISTS backend_capabilities (
    backend_id {int} PRIMARY KEY NOT NULL REFERENCES backends (id) ON DELETE CASCADE,
    capabilities {text} NOT NULL
) {strict};
