-- +goose Up
-- Units on their way back to the gate, written with the change that freed them.
CREATE TABLE returns (
    ticket   TEXT    NOT NULL PRIMARY KEY,
    sale     INTEGER NOT NULL,
    buyer    TEXT    NOT NULL,
    quantity INTEGER NOT NULL
) WITHOUT ROWID;

-- +goose Down
DROP TABLE returns;
