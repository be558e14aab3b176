package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"seckill"
	"seckill/internal/payment"
)

// Books of a long period take their time and room.
const (
	booksTime = 5 * time.Minute
	booksMost = 1 << 30 // bytes
)

// books asks for books, in whatever form path wants.
func (s *server) books(cmd *cobra.Command, path string) ([]byte, error) {
	c, err := s.as(cmd)
	if err != nil {
		return nil, err
	}
	c.HTTP, c.Most = &http.Client{Timeout: booksTime}, booksMost
	a, err := c.Do(cmd.Context(), http.MethodGet, path, nil)
	if err == nil {
		err = a.Refusal(http.MethodGet, path)
	}
	return a.Body, s.asked(err)
}

func newBooksCommand() *cobra.Command {
	var s server
	var from, to, zone string
	var asJSON, differences bool
	cmd := &cobra.Command{
		Use:   "books",
		Short: "Payments and refunds by date, with sums for each currency",
		Long: `Payments and refunds by date, with sums for each currency.

Each payment stands at the moment at which the store saw it, each refund at the one
at which the provider confirmed it. Closing, after the last line, is what the audit
calls captured less refunded. With --differences the payment provider's statement
is held against the books, and the exit status is 0 only if nothing differs.`,
		Example: `  seckill books --from 2026-11-01 --to 2026-11-30 --zone Asia/Shanghai > november.csv
  seckill books --from 2026-11-11 --to 2026-11-11 --json
  seckill books --from 2026-11-11 --to 2026-11-11 --differences`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{"from": {from}, "to": {to}, "zone": {zone}}
			if differences {
				return s.differences(cmd, q, asJSON)
			}
			if !asJSON {
				q.Set("format", "csv")
			}
			b, err := s.books(cmd, "/api/admin/books?"+q.Encode())
			if err != nil {
				return err
			}
			if asJSON {
				var indented bytes.Buffer
				if err := json.Indent(&indented, b, "", "  "); err != nil {
					return err
				}
				b = append(indented.Bytes(), '\n')
			}
			_, err = cmd.OutOrStdout().Write(b)
			return err
		},
	}
	s.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&from, "from", "", "first `day`, such as 2026-11-01, or a moment (RFC 3339)")
	f.StringVar(&to, "to", "", "last `day`, which is included, or the moment before which the books end")
	f.StringVar(&zone, "zone", "UTC", "time `zone` in which days begin, such as Asia/Shanghai")
	f.BoolVar(&asJSON, "json", false, "print JSON instead of CSV")
	f.BoolVar(&differences, "differences", false, "hold the payment provider's statement against the books")
	for _, name := range []string{"from", "to"} {
		cmd.MarkFlagRequired(name)
	}
	return cmd
}

// differences prints where the provider's statement and the books differ.
func (s *server) differences(cmd *cobra.Command, q url.Values, asJSON bool) error {
	b, err := s.books(cmd, "/api/admin/books/differences?"+q.Encode())
	if err != nil {
		return err
	}
	var list struct {
		Items []payment.Difference `json:"items"`
	}
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	if asJSON {
		err = printJSON(cmd, list.Items)
	} else {
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "KIND\tREFERENCE\tREFUND\tOURS\tTHEIRS\tWHAT")
		amount := func(b *seckill.Booking) string {
			if b == nil {
				return "-"
			}
			return seckill.FormatMoney(b.Amount, b.Currency)
		}
		for _, d := range list.Items {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", d.Kind, d.Reference, d.Refund, amount(d.Ours), amount(d.Theirs), d.What)
		}
		err = w.Flush()
	}
	if err == nil && len(list.Items) > 0 {
		err = fmt.Errorf("%d lines differ", len(list.Items))
	}
	return err
}
