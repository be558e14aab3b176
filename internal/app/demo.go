package app

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"seckill"
)

// demoAccount is kept in the data directory, so that a restart shows the same.
type demoAccount struct{ Name, Password, Role string }

// Demo fills a store that has nothing to buy with sales and accounts, and says on
// w where they are.
func (n *Node) Demo(ctx context.Context, w io.Writer) error {
	accounts, err := n.demoAccounts(ctx)
	if err != nil {
		return fmt.Errorf("demo accounts: %w", err)
	}
	sales, err := n.demoSales(ctx)
	if err != nil {
		return fmt.Errorf("demo sales: %w", err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nSeckill is ready.\n\n  storefront   %s/\n  operations   %s/readyz\n\n", n.URL(), n.OpsURL())
	for _, s := range sales {
		when := string(s.State)
		if s.State == seckill.StateScheduled {
			when = "opens " + s.OpensAt.Local().Format("15:04:05")
		}
		fmt.Fprintf(&b, "  sale %-7s %s/sale/%s   %s, %d of %d units left: %s\n", s.ID, n.URL(), s.ID, when, s.Left, s.Total, s.Title)
	}
	b.WriteString("\n")
	for _, a := range accounts {
		role := "buys"
		if a.Role != "" {
			role = "role " + a.Role
		}
		fmt.Fprintf(&b, "  account      name %-6s password %s   (%s)\n", a.Name, a.Password, role)
	}
	b.WriteString("\nCtrl-C stops it.\n\n")
	_, err = io.WriteString(w, b.String())
	return err
}

func (n *Node) demoAccounts(ctx context.Context) (accounts []demoAccount, err error) {
	name := filepath.Join(n.config.DataDir, "demo-accounts.json")
	b, err := os.ReadFile(name)
	if err == nil {
		err = json.Unmarshal(b, &accounts)
	} else if errors.Is(err, os.ErrNotExist) {
		accounts = []demoAccount{{"buyer", password(), ""}, {"admin", password(), seckill.RoleAdmin}}
		if b, err = json.Marshal(accounts); err == nil {
			err = writeWhole(name, b)
		}
	}
	if err != nil {
		return nil, err
	}
	for _, a := range accounts {
		if _, err := n.accounts.Register(ctx, a.Name, a.Password, a.Role); err != nil && !errors.Is(err, seckill.ErrNameTaken) {
			return nil, err
		}
	}
	return accounts, nil
}

func password() string { return strings.ToLower(rand.Text()[:12]) }

func (n *Node) demoSales(ctx context.Context) ([]seckill.Sale, error) {
	sales, err := n.sales.List(ctx, 0, 20)
	if err != nil {
		return nil, err
	}
	for _, s := range sales {
		if s.State == seckill.StateOpen || s.State == seckill.StateScheduled {
			return sales, nil
		}
	}
	now := n.gate.Now().Truncate(time.Second)
	day := now.Add(24 * time.Hour)
	for _, s := range []seckill.Sale{
		{Title: "机械键盘 · Mechanical keyboard", Description: "热插拔轴体，铝合金外壳。\nHot-swappable switches in an aluminium case.", Price: 9900, ListPrice: 29900, Currency: "CNY", Total: 500, LimitPerBuyer: 1, OpensAt: now, ClosesAt: day, HoldSeconds: 900},
		{Title: "降噪耳机 · Noise-cancelling headphones", Description: "一分钟后开抢。\nOpens a minute after the start.", Price: 19900, ListPrice: 89900, Currency: "CNY", Total: 50, LimitPerBuyer: 1, OpensAt: now.Add(time.Minute), ClosesAt: day, HoldSeconds: 900},
		{Title: "手冲咖啡套装 · Pour-over coffee set", Description: "每人限购三套，一分钟内付款。\nUp to three each; pay within a minute.", Price: 4900, ListPrice: 12900, Currency: "CNY", Total: 12, LimitPerBuyer: 3, OpensAt: now, ClosesAt: day, HoldSeconds: 60},
	} {
		if _, err := n.sales.Create(ctx, s); err != nil {
			return nil, err
		}
	}
	return n.sales.List(ctx, 0, 20)
}
