-- +goose Up
-- The list of who may buy that is being sent to a sale in pieces, by the name that its
-- sender gave it, and the version of the sale's list that it becomes; 0: it has come into force.
CREATE TABLE IF NOT EXISTS access_uploads (
    sale    INTEGER NOT NULL PRIMARY KEY,
    upload  TEXT    NOT NULL,
    version INTEGER NOT NULL
) WITHOUT ROWID;

-- +goose Down
DROP TABLE access_uploads;
