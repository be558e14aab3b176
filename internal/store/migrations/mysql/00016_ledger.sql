-- +goose Up
-- Every change of an order, of stock and of money, in its transaction. Rows are
-- only ever added. An order's placing is its ticket's row.
CREATE TABLE IF NOT EXISTS ledger (
    id       BIGINT         NOT NULL AUTO_INCREMENT,
    at       BIGINT         NOT NULL,
    order_id VARBINARY(200) NOT NULL,
    sale     BIGINT         NOT NULL,
    what     VARBINARY(32)  NOT NULL,
    units    BIGINT         NOT NULL,
    amount   BIGINT         NOT NULL,
    currency VARBINARY(12)  NOT NULL,
    who      VARBINARY(256) NOT NULL,
    why      VARCHAR(300)   NOT NULL,
    PRIMARY KEY (id),
    KEY ledger_order (order_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS ledger;
