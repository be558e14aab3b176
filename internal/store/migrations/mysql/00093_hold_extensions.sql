-- +goose Up
-- More time that unpaid orders of a sale were given, by the id with which somebody asked for it: asked again, it is the same.
CREATE TABLE IF NOT EXISTS hold_extensions (
    sale   BIGINT        NOT NULL,
    id     VARBINARY(64) NOT NULL,
    added  BIGINT        NOT NULL, -- milliseconds
    orders BIGINT        NOT NULL,
    PRIMARY KEY (sale, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS hold_extensions;
