-- +goose Up
-- What people of the shop did, each change in its own transaction. Rows are only ever
-- added, but for the result of one that had begun.
CREATE TABLE admin_log (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL, -- milliseconds since 1970, UTC
    who     TEXT    NOT NULL,
    role    TEXT    NOT NULL,
    origin  TEXT    NOT NULL,
    request TEXT    NOT NULL,
    what    TEXT    NOT NULL,
    sale    INTEGER NOT NULL, -- 0: none
    subject TEXT    NOT NULL,
    intent  TEXT    NOT NULL,
    result  TEXT    NOT NULL,
    was     TEXT    NOT NULL, -- JSON, or empty
    became  TEXT    NOT NULL
);
CREATE INDEX admin_log_sale ON admin_log (sale, id);
CREATE INDEX admin_log_who ON admin_log (who, id);
CREATE INDEX admin_log_what ON admin_log (what, subject, id);

-- +goose Down
DROP TABLE admin_log;
