package app

import (
	"cmp"
	"fmt"
	"net/http"

	"seckill"
	"seckill/internal/api"
	"seckill/internal/payment"
	"seckill/internal/web"
)

// openPayments makes the payments of the node.
func (n *Node) openPayments() (*payment.Payments, error) {
	provider, err := n.config.provider()
	if err != nil {
		return nil, err
	}
	if provider.Name() == seckill.ProviderTest {
		n.log.Warn("payment.provider is \"test\": nobody pays anything, whoever presses the button has paid; a shop that sells sets shop or stripe")
	}
	former, err := n.config.former(provider.Name())
	if err != nil {
		return nil, err
	}
	return payment.New(payment.Config{Store: n.store, Gate: n.gate, Orders: n.orders, Provider: provider, Former: former, Grace: n.config.Payment.Grace, Log: n.log, Metrics: n.metrics}), nil
}

// pages are what people see: with the provider "test" also the page at which its
// payments are made.
func (n *Node) pages() http.Handler {
	pages := web.Both(n.sales.Public)
	if n.payments.Provider.Name() != seckill.ProviderTest {
		return pages
	}
	return web.WithTestPay(pages, web.TestPay{
		Buyer: func(r *http.Request) (string, error) {
			who, err := n.tokens.Verify(api.Token(r), true)
			return who.Buyer, err
		},
		Order: n.store.Order, Pay: n.orders.Pay, Fail: n.payments.LetFail,
	})
}

// provider is who takes the money. Beyond embedded parts nobody sells by the word of
// buyers unless the configuration says so.
func (c *Config) provider() (payment.Provider, error) {
	if c.Payment.Provider == "" && !c.Embedded() {
		return nil, fmt.Errorf("payment.provider (%s) is not set: name shop or stripe, or test, with which every buyer has paid who says so", EnvName("payment.provider"))
	}
	secret, err := secretOf(c.Payment.Secret, c.Payment.SecretFile, "payment.secret_file")
	if err != nil {
		return nil, err
	}
	needs := func(key string, value []byte) error {
		if len(value) == 0 {
			return fmt.Errorf("%s (%s) is not set, and payment.provider is %q: set it, or %s_file", key, EnvName(key), c.Payment.Provider, key)
		}
		return nil
	}
	switch c.Payment.Provider {
	case seckill.ProviderShop:
		if err := needs("payment.secret", secret); err != nil {
			return nil, err
		}
		former, err := c.former(seckill.ProviderShop)
		if err != nil {
			return nil, err
		}
		var also []*payment.Shop // while its secret is changed
		if before, ok := former.(*payment.Shop); ok && c.Payment.PreviousProvider == "" {
			also = append(also, before)
		}
		shop, err := payment.NewShop(string(secret), c.Payment.URL, string(c.Payment.RefundURL), string(c.Payment.StatementURL), also...)
		if err != nil {
			return nil, fmt.Errorf("payment.secret (%s): %w", EnvName("payment.secret"), err)
		}
		return shop, nil
	case seckill.ProviderStripe:
		key, err := secretOf(c.Payment.Key, c.Payment.KeyFile, "payment.key_file")
		if err != nil {
			return nil, err
		}
		if err := needs("payment.secret", secret); err != nil {
			return nil, err
		}
		if err := needs("payment.key", key); err != nil {
			return nil, err
		}
		return payment.NewStripe(string(key), string(secret), c.Payment.URL)
	}
	return payment.Test{}, nil
}

// former is who is believed in callbacks beside the provider; nil: nobody.
func (c *Config) former(provider seckill.Provider) (payment.Former, error) {
	secret, err := secretOf(c.Payment.PreviousSecret, c.Payment.PreviousSecretFile, "payment.previous_secret_file")
	if err != nil {
		return nil, err
	}
	name := cmp.Or(c.Payment.PreviousProvider, provider)
	switch {
	case c.Payment.PreviousProvider == "" && len(secret) == 0:
		return nil, nil
	case len(secret) == 0:
		return nil, fmt.Errorf("payment.previous_secret (%s) is not set, and payment.previous_provider is %q: set it, or payment.previous_secret_file", EnvName("payment.previous_secret"), name)
	}
	f, err := payment.NewFormer(name, string(secret))
	if err != nil {
		return nil, fmt.Errorf("payment.previous_provider (%s), payment.previous_secret: %w", EnvName("payment.previous_provider"), err)
	}
	return f, nil
}
