-- +goose Up
-- The buyers who may buy in a sale that has a list of them.
CREATE TABLE IF NOT EXISTS access_eligible (
    sale  BIGINT         NOT NULL,
    buyer VARBINARY(256) NOT NULL,
    PRIMARY KEY (sale, buyer)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS access_eligible;
