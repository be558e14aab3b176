-- +goose Up
CREATE INDEX checkouts_order ON checkouts (order_id);
CREATE INDEX callbacks_reference ON callbacks (provider, reference);
CREATE INDEX payments_order ON payments (order_id);
CREATE INDEX payments_sale ON payments (sale);
CREATE INDEX payments_state ON payments (state);
CREATE INDEX payments_seen ON payments (seen_at);
CREATE INDEX refunds_order ON refunds (order_id);
CREATE INDEX refunds_payment ON refunds (provider, reference);
CREATE INDEX refunds_sale ON refunds (sale);
CREATE INDEX refunds_state ON refunds (state, next_at);
CREATE INDEX refunds_done ON refunds (done_at);
CREATE INDEX ledger_order ON ledger (order_id);

-- +goose Down
DROP INDEX checkouts_order;
DROP INDEX callbacks_reference;
DROP INDEX payments_order;
DROP INDEX payments_sale;
DROP INDEX payments_state;
DROP INDEX payments_seen;
DROP INDEX refunds_order;
DROP INDEX refunds_payment;
DROP INDEX refunds_sale;
DROP INDEX refunds_state;
DROP INDEX refunds_done;
DROP INDEX ledger_order;
