-- +goose Up
-- Payments that were started for orders. An order has one that is open at most.
CREATE TABLE IF NOT EXISTS checkouts (
    id       VARBINARY(26)   NOT NULL,
    order_id VARBINARY(26)   NOT NULL,
    provider VARBINARY(16)   NOT NULL,
    url      VARBINARY(4000) NOT NULL DEFAULT '', -- empty until the provider has named it
    closed   TINYINT         NOT NULL DEFAULT 0,
    at       BIGINT          NOT NULL,
    PRIMARY KEY (id),
    KEY checkouts_order (order_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS checkouts;
