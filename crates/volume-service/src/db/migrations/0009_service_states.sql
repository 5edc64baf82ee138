-- What an administrator said of a service: a service without a row is enabled and not frozen.

CREATE TABLE IF NOT EXISTS service_states (
    binary_name {text} NOT NULL,
    host {text} NOT NULL,
    disabled {int} NOT NULL,
    reason {text} NOT NULL,
    frozen {int} NOT NULL,
    modified_at_us {int} NOT NULL,
    PRIMARY KEY (binary_name, host)
) {strict};
