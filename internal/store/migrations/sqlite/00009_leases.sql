-- +goose Up
-- Who does what only one node may do.
CREATE TABLE leases (
    name  TEXT    NOT NULL PRIMARY KEY,
    owner TEXT    NOT NULL,
    until INTEGER NOT NULL
) WITHOUT ROWID;

-- +goose Down
DROP TABLE leases;
