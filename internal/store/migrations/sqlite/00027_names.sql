-- +goose Up
-- The names of accounts in the one form that all their spellings have in common.
CREATE TABLE names (
    folded TEXT NOT NULL PRIMARY KEY,
    name   TEXT NOT NULL
) WITHOUT ROWID;

-- +goose Down
DROP TABLE names;
