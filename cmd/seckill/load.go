package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"seckill"
	"seckill/internal/account"
	"seckill/internal/load"
)

const (
	loadTokenLife = 24 * time.Hour // longer than any run
	loadOrderHold = time.Hour      // of a fresh sale: no order expires during the run
)

func newLoadCommand() *cobra.Command {
	var (
		c              load.Config
		sale, quantity string
		units          int64
		s              server
		asJSON         bool
	)
	cmd := &cobra.Command{
		Use:   "load",
		Short: "Send a crowd of buyers to a sale and check what they were told",
		Long: `Send a crowd of buyers to a sale, over real HTTP, and check what they were told.

Every buyer buys once and then asks for the outcome until it is final. Buyers
who were told sold_out ask again at the end while units are left. Then the log
of the run is held against the sale, the orders and the server's audit:

  - every "queued" ends in exactly one outcome, and that outcome stays
  - one ticket per buyer, and no two buyers with the same ticket or order
  - orders are read by their owners and by nobody else
  - no unit sold twice, none left while somebody still wants it
  - the audit holds, and counts what the buyers were told

Without --sale a fresh sale is created. The buyers are new in every run; their
tokens are signed with the server's secret: the one in --secret-file, in
SECKILL_AUTH_SECRET, or in the data directory.

The report goes to the standard output, progress to the standard error. The exit
status is 0 only if everything adds up. Failed requests are retried and counted:
they are no reason for another exit status, but figures of speed with failures
in them are worth nothing.`,
		Example: `  # 20,000 buyers for 1,000 fresh units on this machine
  seckill load

  # two nodes, an existing sale, one to three units for each buyer
  seckill load --server http://10.0.0.1:8080,http://10.0.0.2:8080 --sale 7 --quantity 1-3

  # everybody clicks five times at once
  seckill load --units 500 --buyers 5000 --repeats 5

  # the speed of the buy route alone, for a script
  seckill load --buyers 100000 --buy-only --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			var err error
			if c.Quantity, err = parseQuantity(quantity); err != nil {
				return err
			}
			key, err := s.secret(cmd)
			if err != nil {
				return err
			}
			c.Token = func(buyer string) (string, error) { return account.Mint(key, buyer, "", loadTokenLife) }
			if c.AdminToken, err = account.Mint(key, "load", seckill.RoleAdmin, loadTokenLife); err != nil {
				return err
			}
			if len(c.Servers) == 0 {
				return errors.New("--server is empty: give an address such as http://127.0.0.1:8080")
			}
			if sale != "" {
				if c.Sale, err = seckill.ParseSaleID(sale); err != nil {
					return fmt.Errorf("--sale: %w: a sale id is a positive number, see \"seckill sale list\"", err)
				}
			} else if c.Sale, err = load.Fresh(ctx, c.Servers[0], c.AdminToken, units, c.Quantity[1], loadOrderHold); err != nil {
				return err
			}
			c.Progress = cmd.ErrOrStderr()
			report, err := load.Run(ctx, c)
			if err != nil {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				err = enc.Encode(report)
			} else {
				err = report.WriteText(cmd.OutOrStdout())
			}
			if err != nil {
				return err
			}
			if len(report.Findings) > 0 {
				return errors.New("the run does not add up: see the findings")
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&c.Servers, "server", []string{"http://127.0.0.1:8080"}, "base `address` of a server; several, with commas, take turns")
	f.StringVar(&sale, "sale", "", "`id` of an existing sale (default: create one)")
	f.Int64Var(&units, "units", 1000, "units of the sale to create")
	f.IntVar(&c.Buyers, "buyers", 20000, "number of buyers")
	f.IntVar(&c.Concurrency, "concurrency", 2000, "buyers who buy at the same time")
	f.StringVar(&quantity, "quantity", "1", "units per buyer, a number or a range such as 1-3")
	f.IntVar(&c.Repeats, "repeats", 1, "identical requests that each buyer sends at once")
	f.DurationVar(&c.Settle, "settle", 2*time.Minute, "how long outcomes may take after the last buy")
	f.DurationVar(&c.Timeout, "timeout", 30*time.Second, "longest wait for one answer")
	f.BoolVar(&c.BuyOnly, "buy-only", false, "do not ask for outcomes: measure the buy route alone")
	s.secretFlags(cmd)
	f.BoolVar(&asJSON, "json", false, "write the report as JSON")
	cmd.MarkFlagsMutuallyExclusive("sale", "units")
	return cmd
}

// parseQuantity reads "2" or "1-3".
func parseQuantity(s string) (q [2]int, err error) {
	from, to, isRange := strings.Cut(s, "-")
	if !isRange {
		to = from
	}
	low, err1 := strconv.Atoi(from)
	high, err2 := strconv.Atoi(to)
	if err1 != nil || err2 != nil || low < 1 || low > high || high > seckill.MaxQuantity {
		return q, fmt.Errorf("--quantity %q: give a number such as 1 or a range such as 1-3, within 1 to %d", s, seckill.MaxQuantity)
	}
	return [2]int{low, high}, nil
}
