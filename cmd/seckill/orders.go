package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"seckill"
	"seckill/internal/client"
)

// ordersTime is how long orders as CSV may take.
const ordersTime = 5 * time.Minute

func newOrdersCommand() *cobra.Command {
	var s server
	var sale, state, buyer, payment string
	var asJSON, asCSV bool
	var most int
	cmd := &cobra.Command{
		Use:   "orders [ORDER or BUYER]",
		Short: "Find orders: by their id in any case, by buyer, sale or state",
		Long: `Find orders, the newest first: by their id in upper or lower case, by the buyer's id
or account name, and by sale, state or a payment provider's reference. With --csv all
that match are written, not only the first ones.`,
		Example: `  seckill orders li.wei
  seckill orders 1k8eod2f13g6aqlz7is3igkqhx
  seckill orders --sale 1 --state unpaid
  seckill orders --sale 1 --csv > orders.csv`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{}
			if len(args) > 0 {
				q.Set("q", args[0])
			}
			for name, v := range map[string]string{"sale": sale, "state": state, "buyer": buyer, "payment": payment} {
				if v != "" {
					q.Set(name, v)
				}
			}
			if asCSV {
				return s.ordersCSV(cmd, q)
			}
			q.Set("limit", fmt.Sprint(min(most, 100)))
			type line struct {
				seckill.Order
				Buyer string `json:"buyer"`
			}
			all, err := ask(&s, cmd, func(ctx context.Context, c *client.Client) (all []line, err error) {
				for len(all) < most {
					var page struct {
						Items []line
						Next  string
					}
					a, err := c.Do(ctx, http.MethodGet, "/api/admin/orders?"+q.Encode(), nil)
					if err == nil {
						err = a.Refusal(http.MethodGet, "/api/admin/orders")
					}
					if err == nil {
						err = a.Into(&page)
					}
					if err != nil {
						return nil, err
					}
					all = append(all, page.Items...)
					if page.Next == "" {
						break
					}
					q.Set("cursor", page.Next)
				}
				return all, nil
			})
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd, all)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "ORDER\tSALE\tBUYER\tSTATE\tUNITS\tAMOUNT\tCREATED\tEXPIRES")
			for _, o := range all {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", o.ID, o.Sale, o.Buyer, o.State, o.Quantity, seckill.FormatMoney(o.Amount, o.Currency),
					o.CreatedAt.Format(time.RFC3339), o.ExpiresAt.Format(time.RFC3339))
			}
			return w.Flush()
		},
	}
	s.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&sale, "sale", "", "of this `sale`")
	f.StringVar(&state, "state", "", "unpaid, paid, cancelled, expired or refunded")
	f.StringVar(&buyer, "buyer", "", "of this buyer's `id`")
	f.StringVar(&payment, "payment", "", "paid with this `reference` of the provider")
	f.IntVar(&most, "limit", 100, "the most orders shown")
	f.BoolVar(&asJSON, "json", false, "as JSON")
	f.BoolVar(&asCSV, "csv", false, "as CSV, all that match")
	return cmd
}

// ordersCSV writes the orders as the server sends them.
func (s *server) ordersCSV(cmd *cobra.Command, q url.Values) error {
	c, err := s.as(cmd)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, c.Server+"/api/admin/orders?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+c.Token)
	r.Header.Set("Accept", "text/csv")
	answer, err := (&http.Client{Timeout: ordersTime}).Do(r)
	if err != nil {
		return s.asked(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answers %s", answer.Status)
	}
	_, err = io.Copy(cmd.OutOrStdout(), answer.Body)
	return err
}
