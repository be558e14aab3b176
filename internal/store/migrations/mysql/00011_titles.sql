-- +goose Up
-- What a sale was called before a change, for those of its tickets whose
-- admission number is at most seq: an order keeps the title and the image as
-- bought. A change that no ticket was settled before leaves no row.
CREATE TABLE IF NOT EXISTS titles (
    sale  BIGINT        NOT NULL,
    seq   BIGINT        NOT NULL,
    title VARCHAR(200)  NOT NULL,
    image VARCHAR(2000) NOT NULL,
    PRIMARY KEY (sale, seq)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS titles;
