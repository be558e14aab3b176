-- +goose Up
-- Orders that were paid before there were payments: their buyers said so
-- themselves, as with the provider "test".
INSERT INTO payments (provider, reference, event, order_id, sale, amount, currency, state, note, at, seen_at)
SELECT 'test', CONCAT('test-', t.id), CONCAT('test-', t.id), t.id, t.sale, t.amount, s.currency, 'kept', 'from before there were payments', t.created_at, t.created_at
FROM tickets t JOIN sales s ON s.id = t.sale
WHERE t.state = 'paid' AND t.amount > 0 AND NOT EXISTS (SELECT 1 FROM payments p WHERE p.provider = 'test' AND p.reference = CONCAT('test-', t.id));

-- +goose Down
DELETE FROM payments WHERE note = 'from before there were payments';
