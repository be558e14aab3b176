-- +goose Up
-- Of the sales that were made before, the version in force. Tickets of earlier versions
-- are judged by the widest terms.
INSERT INTO sale_versions (sale, version, opens, closes, most)
SELECT id, version, opens_at, closes_at, limit_per_buyer FROM sales
WHERE NOT EXISTS (SELECT 1 FROM sale_versions v WHERE v.sale = sales.id AND v.version = sales.version);

-- +goose Down
DELETE FROM sale_versions;
