-- +goose Up
CREATE TABLE accounts (
    name       TEXT    NOT NULL PRIMARY KEY,
    buyer      TEXT    NOT NULL UNIQUE,
    role       TEXT    NOT NULL,
    hash       TEXT    NOT NULL,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;

-- +goose Down
DROP TABLE accounts;
