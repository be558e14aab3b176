-- +goose Up
-- Sales by the key with which somebody asked for them: asked again, they are the same ones.
CREATE TABLE IF NOT EXISTS creates (
    name        TEXT NOT NULL PRIMARY KEY,
    sale        INTEGER NOT NULL,
    fingerprint TEXT NOT NULL -- of what was asked for
);

-- +goose Down
DROP TABLE IF EXISTS creates;
