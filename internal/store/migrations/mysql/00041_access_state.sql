-- +goose Up
-- The version of what every node keeps a copy of: the sales' rules, the lists, each
-- sale's list of buyers. A node that sees another version reads the thing again.
CREATE TABLE IF NOT EXISTS access_state (
    name    VARBINARY(64) NOT NULL,
    version BIGINT        NOT NULL,
    PRIMARY KEY (name)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS access_state;
