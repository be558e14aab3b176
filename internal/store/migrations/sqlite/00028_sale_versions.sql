-- +goose Up
-- The terms of each version of a sale: a ticket is judged by those of the version that
-- admitted it. Rows are only ever added, each in the transaction of its change.
CREATE TABLE sale_versions (
    sale    INTEGER NOT NULL,
    version INTEGER NOT NULL,
    opens   INTEGER NOT NULL, -- milliseconds since 1970, UTC
    closes  INTEGER NOT NULL,
    most    INTEGER NOT NULL, -- units per buyer
    PRIMARY KEY (sale, version)
) WITHOUT ROWID;

-- +goose Down
DROP TABLE sale_versions;
