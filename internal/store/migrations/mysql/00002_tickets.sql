-- +goose Up
-- One row per settled ticket: its outcome and, where placed, its order. The first
-- writer wins. state is refused, or that of the order.
--
-- Ids and names are bytes here: every text collation that all servers have takes
-- "bob" and "bob " for the same buyer. There are no partial indexes: a column
-- that is NULL for everything else does the same. They are stored, since indexed
-- virtual columns are computed by the purge too, which has a history of defects.
CREATE TABLE IF NOT EXISTS tickets (
    id           VARBINARY(26)  NOT NULL,
    sale         BIGINT         NOT NULL,
    buyer        VARBINARY(256) NOT NULL,
    quantity     BIGINT         NOT NULL,
    seq          BIGINT         NOT NULL,
    state        VARBINARY(10)  NOT NULL,
    reason       VARBINARY(16)  NOT NULL,
    amount       BIGINT         NOT NULL,
    created_at   BIGINT         NOT NULL,
    expires_at   BIGINT         NOT NULL,
    active_buyer VARBINARY(256) AS (IF(state IN ('unpaid', 'paid'), buyer, NULL)) STORED,
    unpaid_until BIGINT         AS (IF(state = 'unpaid', expires_at, NULL)) STORED,
    PRIMARY KEY (id),
    UNIQUE KEY tickets_active (sale, active_buyer), -- one active order per (sale, buyer)
    KEY tickets_buyer (buyer, id),
    KEY tickets_unpaid (unpaid_until),
    CHECK (quantity > 0)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS tickets;
