-- +goose Up
CREATE TABLE sales (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    title           TEXT    NOT NULL,
    description     TEXT    NOT NULL,
    image           TEXT    NOT NULL,
    price           INTEGER NOT NULL,
    list_price      INTEGER NOT NULL,
    currency        TEXT    NOT NULL,
    total           INTEGER NOT NULL,
    sold            INTEGER NOT NULL DEFAULT 0,
    seq             INTEGER NOT NULL DEFAULT 0, -- highest admission number settled
    limit_per_buyer INTEGER NOT NULL,
    opens_at        INTEGER NOT NULL,           -- all times: milliseconds since 1970, UTC
    closes_at       INTEGER NOT NULL,
    hold_seconds    INTEGER NOT NULL,
    paused          INTEGER NOT NULL DEFAULT 0,
    ended           INTEGER NOT NULL DEFAULT 0,
    version         INTEGER NOT NULL DEFAULT 1,
    applied         INTEGER NOT NULL DEFAULT 0, -- the version that the gate has in force
    epoch           INTEGER NOT NULL DEFAULT 0,
    CHECK (sold >= 0 AND sold <= total)         -- no oversell, whatever happens above
);

-- +goose Down
DROP TABLE sales;
