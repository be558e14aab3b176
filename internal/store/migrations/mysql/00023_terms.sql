-- +goose Up
-- The widest terms that any version of a sale has had: a ticket beyond them was never
-- admitted, whatever it says.
CREATE TABLE IF NOT EXISTS terms (
    sale   BIGINT NOT NULL PRIMARY KEY,
    opens  BIGINT NOT NULL, -- milliseconds since 1970, UTC
    closes BIGINT NOT NULL,
    most   INT    NOT NULL  -- units per buyer
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS terms;
