-- +goose Up
CREATE TABLE IF NOT EXISTS accounts (
    name       VARBINARY(256) NOT NULL,
    buyer      VARBINARY(256) NOT NULL,
    role       VARBINARY(16)  NOT NULL,
    hash       VARBINARY(255) NOT NULL,
    created_at BIGINT         NOT NULL,
    PRIMARY KEY (name),
    UNIQUE KEY accounts_buyer (buyer)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS accounts;
