package payment

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"seckill"
)

// Test is the provider of a shop that is tried out: nobody pays anything, and
// whoever asks for it has paid. It has no callbacks, and gives back at once.
type Test struct{}

// LetFail notes that a payment of the order failed, as a callback of a real provider
// does: the order stays as it is. Of one order the first failure is noted.
func (p *Payments) LetFail(ctx context.Context, o seckill.Order) error {
	if p.Provider.Name() != seckill.ProviderTest {
		return fmt.Errorf("payment provider %q: %w", p.Provider.Name(), seckill.ErrState)
	}
	_, err := p.Store.Receive(ctx, seckill.Callback{Provider: seckill.ProviderTest, Event: "failed-" + o.ID, Type: seckill.Failed, Order: o.ID,
		Reference: "failed-" + o.ID, Amount: o.Amount, Currency: o.Currency, At: time.Now()})
	return err
}

// Name is part of Provider.
func (Test) Name() seckill.Provider { return seckill.ProviderTest }

// Start is never called: Payments.Pay does not ask this provider.
func (Test) Start(context.Context, seckill.Order, string) (url, session string, err error) {
	return "", "", fmt.Errorf("the provider %q starts no payments", seckill.ProviderTest)
}

// Verify is part of Provider: nobody may speak for it.
func (Test) Verify(http.Header, []byte) (seckill.Callback, error) {
	return seckill.Callback{}, ErrSignature
}

// Refund is part of Provider.
func (Test) Refund(_ context.Context, r seckill.Refund) (string, error) { return r.ID, nil }

// Statement is part of Provider: it has none.
func (Test) Statement(context.Context, time.Time, time.Time) ([]seckill.Booking, error) {
	return nil, errNoStatement
}
