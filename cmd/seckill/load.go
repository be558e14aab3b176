package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
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
		misbehave      string
		reports        []string
		asJSON         bool
		farm           scalpers
		asks           seckill.Access // of a fresh sale
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

The loop is closed: --concurrency buyers are at it, and the next one comes when
one has its verdict. With --rate or --burst it is open: buyers arrive at their
time whatever the server does, latency counts from that time, and arrivals that
this machine was late with are reported. With --phases first everybody buys and
then everybody asks for its ticket: the two routes measured apart.

Without --sale a fresh sale is created. The buyers are new in every run; their
tokens are signed with the server's secret: the one in --secret-file, in
SECKILL_AUTH_SECRET, or in the data directory.

The report goes to the standard output, progress to the standard error. The exit
status is 0 only if everything adds up. Failed requests are retried and counted:
they are no reason for another exit status, but figures of speed with failures
in them are worth nothing.
` + scalpersHelp,
		Example: `  # 20,000 buyers for 1,000 fresh units on this machine
  seckill load

  # two nodes, an existing sale, one to three units for each buyer
  seckill load --server http://10.0.0.1:8080,http://10.0.0.2:8080 --sale 7 --quantity 1-3

  # everybody clicks five times at once
  seckill load --units 500 --buyers 5000 --repeats 5

  # 5,000 buyers at the opening, then 2,000 more each second
  seckill load --buyers 30000 --burst 5000 --rate 2000

  # the buy route, then the result route; every tenth buyer misbehaves
  seckill load --phases --misbehave 0.1 --report load.html --report load.json

  # a scalper's farm beside 2,000 people, for each defence alone and for all
  seckill load --units 200 --buyers 2000 --scalpers "accounts=1000,networks=50,solver=2s,cores=8"

  # everybody solves a picture and a proof of work for a pass before buying
  seckill load --units 100 --buyers 1000 --challenge both

  # the speed of the buy route alone, for a script
  seckill load --buyers 100000 --buy-only --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			var err error
			if c.Quantity, err = parseQuantity(quantity); err != nil {
				return err
			}
			if c.Misbehave, err = load.ParseShares(misbehave); err != nil {
				return fmt.Errorf("--misbehave %w", err)
			}
			for _, file := range reports {
				if _, err := reportWriter(file); err != nil {
					return err
				}
			}
			_, key, err := s.secret(cmd)
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
			asks.Pass = asks.Challenge != ""
			if err := asks.Validate(); err != nil {
				return fmt.Errorf("--challenge: %w", err)
			}
			c.Solve = solver(key)
			if farm.farm != "" {
				return farm.run(cmd, c.Servers[0], c.Buyers, units, key, c.AdminToken, asJSON)
			}
			if sale != "" {
				if c.Sale, err = seckill.ParseSaleID(sale); err != nil {
					return fmt.Errorf("--sale: %w: a sale id is a positive number, see \"seckill sale list\"", err)
				}
			} else if c.Sale, err = load.Fresh(ctx, c.Servers[0], c.AdminToken, units, c.Quantity[1], loadOrderHold, asks); err != nil {
				return err
			}
			c.Progress = cmd.ErrOrStderr()
			report, err := load.Run(ctx, c)
			if err != nil {
				return err
			}
			write := (*load.Report).WriteText
			if asJSON {
				write = (*load.Report).WriteJSON
			}
			if err := write(report, cmd.OutOrStdout()); err != nil {
				return err
			}
			for _, file := range reports {
				if err := saveReport(report, file); err != nil {
					return err
				}
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
	f.StringVar((*string)(&asks.Challenge), "challenge", "", "the sale to create asks for a pass that costs this: none, formula, work or both; every buyer\nfetches one first, with the server's secret, from an address of its own where http.trusted_proxies lists\nthis machine; else all share access.network_rate, and 20,000 buyers take seven minutes")
	f.IntVar(&asks.TriesPerBuyer, "tries", 0, "the sale to create allows a buyer so many unpaid orders (0: any number)")
	f.IntVar(&c.Buyers, "buyers", 20000, "number of buyers")
	f.IntVar(&c.Concurrency, "concurrency", 2000, "buyers who buy at the same time; in the open loop the most at a time")
	f.Float64Var(&c.Rate, "rate", 0, "open loop: buyers who arrive each second")
	f.IntVar(&c.Burst, "burst", 0, "open loop: buyers who arrive at once, at the start")
	f.DurationVar(&c.Ramp, "ramp", 0, "open loop: how long the rate takes to grow from 0")
	f.BoolVar(&c.Phases, "phases", false, "first everybody buys, then everybody asks for its ticket")
	f.StringVar(&misbehave, "misbehave", "", "`share` of buyers who misbehave, such as 0.1, or shares such as duplicates=0.05,\nparallel=0.02,never-asks=0.02,hangs-up=0.01")
	f.StringSliceVar(&c.Ops, "ops", nil, "base `address` of the operations listener of each server: reports the servers' processor time")
	f.StringVar(&quantity, "quantity", "1", "units per buyer, a number or a range such as 1-3")
	f.IntVar(&c.Repeats, "repeats", 1, "identical requests that each buyer sends at once")
	f.DurationVar(&c.Settle, "settle", 2*time.Minute, "how long outcomes may take after the last buy")
	f.DurationVar(&c.Timeout, "timeout", 30*time.Second, "longest wait for one answer")
	f.BoolVar(&c.BuyOnly, "buy-only", false, "do not ask for outcomes: measure the buy route alone")
	s.secretFlags(cmd)
	f.BoolVar(&asJSON, "json", false, "write the report as JSON")
	f.StringSliceVar(&reports, "report", nil, "write the report to a `file` too: a page with plots if it ends in .html, JSON in .json,\ntext in .txt; may be given several times")
	farm.flags(cmd)
	cmd.MarkFlagsMutuallyExclusive("sale", "units")
	cmd.MarkFlagsMutuallyExclusive("sale", "scalpers")
	cmd.MarkFlagsMutuallyExclusive("sale", "challenge")
	cmd.MarkFlagsMutuallyExclusive("sale", "tries")
	return cmd
}

// reportWriter is the form of a report that the name of its file asks for.
func reportWriter(file string) (func(*load.Report, io.Writer) error, error) {
	switch filepath.Ext(file) {
	case ".html":
		return (*load.Report).WriteHTML, nil
	case ".json":
		return (*load.Report).WriteJSON, nil
	case ".txt":
		return (*load.Report).WriteText, nil
	}
	return nil, fmt.Errorf("--report %s: give a name that ends in .html, .json or .txt", file)
}

func saveReport(report *load.Report, file string) error {
	write, err := reportWriter(file)
	if err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("--report: %w", err)
	}
	return errors.Join(write(report, f), f.Close())
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
