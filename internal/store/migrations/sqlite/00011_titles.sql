-- +goose Up
-- What a sale was called before a change, for those of its tickets whose
-- admission number is at most seq: an order keeps the title and the image as
-- bought. A change that no ticket was settled before leaves no row.
CREATE TABLE titles (
    sale  INTEGER NOT NULL,
    seq   INTEGER NOT NULL,
    title TEXT    NOT NULL,
    image TEXT    NOT NULL,
    PRIMARY KEY (sale, seq)
) WITHOUT ROWID;

-- +goose Down
DROP TABLE titles;
