-- +goose Up
-- The buyers who may buy in a sale that has a list of them.
CREATE TABLE access_eligible (
    sale  INTEGER NOT NULL,
    buyer TEXT    NOT NULL,
    PRIMARY KEY (sale, buyer)
) WITHOUT ROWID;

-- +goose Down
DROP TABLE access_eligible;
