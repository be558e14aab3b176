-- +goose Up
-- Invitations: a code opens so many accounts until a time. The code itself is not kept.
CREATE TABLE access_invites (
    hash  TEXT    NOT NULL PRIMARY KEY,
    uses  INTEGER NOT NULL CHECK (uses >= 0),
    until INTEGER NOT NULL
) WITHOUT ROWID;

-- +goose Down
DROP TABLE access_invites;
