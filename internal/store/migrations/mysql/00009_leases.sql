-- +goose Up
-- Who does what only one node may do.
CREATE TABLE IF NOT EXISTS leases (
    name  VARBINARY(256) NOT NULL,
    owner VARBINARY(256) NOT NULL,
    until BIGINT         NOT NULL,
    PRIMARY KEY (name)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS leases;
