-- +goose Up
-- late_payment: retake of a sale. The sales in which a late payment takes units again, where there are any, before
-- it is given back.
CREATE TABLE IF NOT EXISTS retakes (
    sale BIGINT NOT NULL,
    PRIMARY KEY (sale)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS retakes;
