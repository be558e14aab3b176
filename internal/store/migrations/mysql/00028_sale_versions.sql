-- +goose Up
-- The terms of each version of a sale: a ticket is judged by those of the version that
-- admitted it. Rows are only ever added, each in the transaction of its change.
CREATE TABLE IF NOT EXISTS sale_versions (
    sale    BIGINT NOT NULL,
    version BIGINT NOT NULL,
    opens   BIGINT NOT NULL, -- milliseconds since 1970, UTC
    closes  BIGINT NOT NULL,
    most    INT    NOT NULL, -- units per buyer
    PRIMARY KEY (sale, version)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS sale_versions;
