-- +goose Up
-- More time that unpaid orders of a sale were given, by the id with which somebody asked for it: asked again, it is the same.
CREATE TABLE hold_extensions (
    sale   INTEGER NOT NULL,
    id     TEXT    NOT NULL,
    added  INTEGER NOT NULL, -- milliseconds
    orders INTEGER NOT NULL,
    PRIMARY KEY (sale, id)
) WITHOUT ROWID;

-- +goose Down
DROP TABLE hold_extensions;
