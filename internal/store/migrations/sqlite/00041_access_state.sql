-- +goose Up
-- The version of what every node keeps a copy of: the sales' rules, the lists, each
-- sale's list of buyers. A node that sees another version reads the thing again.
CREATE TABLE access_state (
    name    TEXT    NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL
) WITHOUT ROWID;

-- +goose Down
DROP TABLE access_state;
