-- +goose Up
-- The names of accounts in the one form that all their spellings have in common.
CREATE TABLE IF NOT EXISTS names (
    folded VARBINARY(1024) NOT NULL,
    name   VARBINARY(256)  NOT NULL,
    PRIMARY KEY (folded)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS names;
