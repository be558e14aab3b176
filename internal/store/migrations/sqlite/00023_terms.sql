-- +goose Up
-- The widest terms that any version of a sale has had: a ticket beyond them was never
-- admitted, whatever it says.
CREATE TABLE terms (
    sale   INTEGER NOT NULL PRIMARY KEY,
    opens  INTEGER NOT NULL, -- milliseconds since 1970, UTC
    closes INTEGER NOT NULL,
    most   INTEGER NOT NULL  -- units per buyer
);

-- +goose Down
DROP TABLE terms;
