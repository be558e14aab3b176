-- +goose Up
-- How often a buyer has left an order unpaid, in sales that limit that.
CREATE TABLE access_tries (
    sale    INTEGER NOT NULL,
    buyer   TEXT    NOT NULL,
    tries   INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    PRIMARY KEY (sale, buyer)
) WITHOUT ROWID;

-- +goose Down
DROP TABLE access_tries;
