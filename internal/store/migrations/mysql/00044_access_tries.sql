-- +goose Up
-- How often a buyer has left an order unpaid, in sales that limit that.
CREATE TABLE IF NOT EXISTS access_tries (
    sale    BIGINT         NOT NULL,
    buyer   VARBINARY(256) NOT NULL,
    tries   BIGINT         NOT NULL,
    last_at BIGINT         NOT NULL,
    PRIMARY KEY (sale, buyer),
    KEY access_tries_last (last_at, sale, buyer)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS access_tries;
