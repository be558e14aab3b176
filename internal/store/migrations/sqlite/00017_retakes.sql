-- +goose Up
-- late_payment: retake of a sale. The sales in which a late payment takes units again, where there are any, before
-- it is given back.
CREATE TABLE retakes (
    sale INTEGER PRIMARY KEY
);

-- +goose Down
DROP TABLE retakes;
