-- +goose Up
-- Stock moves between store (growth) and gate (shrinking), by id.
CREATE TABLE moves (
    sale  INTEGER NOT NULL,
    id    TEXT    NOT NULL,
    delta INTEGER NOT NULL,
    done  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (sale, id)
) WITHOUT ROWID;

-- +goose Down
DROP TABLE moves;
