-- +goose Up
-- What has become of accounts since they were made, by buyer: one that nothing has
-- happened to has no row. It outlives the account, whose tokens may.
CREATE TABLE standings (
    buyer      TEXT    NOT NULL PRIMARY KEY,
    generation INTEGER NOT NULL, -- tokens of a lower one have ended
    blocked    INTEGER NOT NULL,
    version    INTEGER NOT NULL, -- of the whole table when the generation was raised; nodes read what is behind theirs
    changed_at INTEGER NOT NULL, -- milliseconds since 1970, UTC
    factor     TEXT    NOT NULL, -- the secret of the second factor, or empty
    confirmed  INTEGER NOT NULL, -- the account has shown a code of it
    step       INTEGER NOT NULL  -- of the last code that was taken
) WITHOUT ROWID;
CREATE INDEX standings_version ON standings (version);

-- +goose Down
DROP TABLE standings;
