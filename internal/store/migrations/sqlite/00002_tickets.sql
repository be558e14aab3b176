-- +goose Up
-- One row per settled ticket: its outcome and, where placed, its order. The first
-- writer wins. state is refused, or that of the order.
CREATE TABLE tickets (
    id         TEXT    NOT NULL PRIMARY KEY,
    sale       INTEGER NOT NULL,
    buyer      TEXT    NOT NULL,
    quantity   INTEGER NOT NULL CHECK (quantity > 0),
    seq        INTEGER NOT NULL,
    state      TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    amount     INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;

-- +goose Down
DROP TABLE tickets;
