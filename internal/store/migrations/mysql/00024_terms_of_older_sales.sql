-- +goose Up
-- Sales that were made before know the terms that they have now. One whose terms were
-- wider may have tickets under way that were admitted by those: so it gets a day on each
-- side, and the highest limit there is.
INSERT INTO terms (sale, opens, closes, most)
SELECT id, opens_at - 86400000, closes_at + 86400000, CASE WHEN version > 1 THEN 1000 ELSE limit_per_buyer END FROM sales
WHERE NOT EXISTS (SELECT 1 FROM terms WHERE terms.sale = sales.id);

-- +goose Down
DELETE FROM terms;
