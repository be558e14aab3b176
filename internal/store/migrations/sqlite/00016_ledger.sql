-- +goose Up
-- Every change of an order, of stock and of money, in its transaction. Rows are
-- only ever added. An order's placing is its ticket's row.
CREATE TABLE ledger (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    at       INTEGER NOT NULL,
    order_id TEXT    NOT NULL,
    sale     INTEGER NOT NULL,
    what     TEXT    NOT NULL,
    units    INTEGER NOT NULL,
    amount   INTEGER NOT NULL,
    currency TEXT    NOT NULL,
    who      TEXT    NOT NULL,
    why      TEXT    NOT NULL
);

-- +goose Down
DROP TABLE ledger;
