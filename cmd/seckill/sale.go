package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"seckill"
	"seckill/internal/client"
)

func newSaleCommand() *cobra.Command {
	var s server
	cmd := &cobra.Command{
		Use:   "sale",
		Short: "Create, list and change sales over HTTP",
		Example: `  seckill sale create --title "Mechanical keyboard" --price 9900 --total 500
  seckill sale list
  seckill sale pause 1
  seckill sale stock 1 --delta 100`,
	}
	s.flags(cmd)
	cmd.AddCommand(s.create(), s.list(), s.stock(), s.end())
	for _, c := range []struct{ name, short string }{
		{"pause", "Stop a sale until it is resumed"},
		{"resume", "Go on with a paused sale"},
	} {
		cmd.AddCommand(&cobra.Command{Use: c.name + " SALE", Short: c.short, Example: "  seckill sale " + c.name + " 1", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			return s.change(cmd, args[0], c.name, nil)
		}})
	}
	return cmd
}

func (s *server) change(cmd *cobra.Command, id, what string, body any) error {
	if _, err := s.named(cmd, []string{id}); err != nil {
		return err
	}
	v, err := ask(s, cmd, func(ctx context.Context, c *client.Client) (seckill.Sale, error) {
		return c.ChangeSale(ctx, id, what, body)
	})
	if err != nil {
		return err
	}
	return printJSON(cmd, v)
}

// end asks for the title of the sale, or for --yes.
func (s *server) end() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "end SALE",
		Short: "End a sale for ever; admitted buyers keep their right",
		Example: `  seckill sale end 1
  seckill sale end 1 --yes`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := s.named(cmd, args); err != nil {
				return err
			}
			body := map[string]any{}
			if !yes {
				fmt.Fprintf(cmd.ErrOrStderr(), "Ending sale %s cannot be undone. Type its title: ", args[0])
				title, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
				if title = strings.TrimRight(title, "\r\n"); title == "" {
					return errors.Join(errors.New("nothing was typed, so nothing was ended (a script gives --yes)"), err)
				}
				body["title"] = title
			}
			return s.change(cmd, args[0], "end", body)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask for the title")
	return cmd
}

func (s *server) create() *cobra.Command {
	var v seckill.Sale
	var opens, closes, key string
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Create a sale; it is buyable on every node when this returns",
		Long: `Create a sale; it is buyable on every node when this returns. What is allowed and
probably not meant, such as times in the past, is said on standard error.

A sale has a key, and the same key is one sale however often it is sent: when an answer
is lost, the command says with which --key and times to send it again.`,
		Example: `  seckill sale create --title "Mechanical keyboard" --price 9900 --total 500
  seckill sale create --title "Noodles" --price 100 --total 50 --limit 3 --opens 2026-11-11T12:00:00Z --closes 2026-11-11T13:00:00Z
  seckill sale create --title "Tickets" --price 5000 --total 80 --late-payment retake --notice "Doors open at 19:00"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if v.OpensAt, err = when(opens, time.Now()); err != nil {
				return fmt.Errorf("--opens: %w", err)
			}
			if v.ClosesAt, err = when(closes, v.OpensAt); err != nil {
				return fmt.Errorf("--closes: %w", err)
			}
			if key == "" {
				key = rand.Text()
			}
			made, err := ask(s, cmd, func(ctx context.Context, c *client.Client) (client.Created, error) {
				return c.CreateSale(ctx, client.NewSale{
					Title: v.Title, Description: v.Description, Image: v.Image, Price: v.Price, ListPrice: v.ListPrice, Currency: v.Currency,
					Total: v.Total, LimitPerBuyer: v.LimitPerBuyer, OpensAt: v.OpensAt, ClosesAt: v.ClosesAt, HoldSeconds: v.HoldSeconds,
					LatePayment: v.LatePayment, Access: v.Access, Shelf: v.Shelf, Notice: v.Notice, Key: key,
				})
			})
			if err != nil {
				return repeatable(err, key, v)
			}
			for _, w := range made.Warnings {
				fmt.Fprintln(cmd.ErrOrStderr(), "warning:", w)
			}
			return printJSON(cmd, made.Sale)
		},
	}
	f := cmd.Flags()
	f.StringVar(&v.Title, "title", "", "what is sold")
	f.StringVar(&v.Description, "description", "", "more about it")
	f.StringVar(&v.Image, "image", "", "`address` of a picture")
	f.Var((*minorUnits)(&v.Price), "price", "price of a unit, in minor `units`: 9900 is 99.00 CNY")
	f.Var((*minorUnits)(&v.ListPrice), "list-price", "price to strike through, in minor `units`")
	f.StringVar(&v.Currency, "currency", "CNY", "currency `code` of ISO 4217")
	f.Int64Var(&v.Total, "total", 0, "units")
	f.IntVar(&v.LimitPerBuyer, "limit", 1, "units for each buyer")
	f.StringVar(&opens, "opens", "now", "`time` of opening: RFC 3339, or a duration from now such as 10m")
	f.StringVar(&closes, "closes", "24h", "`time` of closing: RFC 3339, or a duration after the opening")
	f.IntVar(&v.HoldSeconds, "hold", 900, "seconds that an unpaid order keeps its units")
	f.BoolVar(&v.Pass, "pass", false, "ask for a pass, which buyers fetch shortly before the opening")
	f.StringVar((*string)(&v.Challenge), "challenge", "", "what a pass costs: none, formula, work or both")
	f.IntVar(&v.TriesPerBuyer, "tries", 0, "orders that a buyer may leave unpaid (0: no limit)")
	f.IntVar(&v.CooldownSeconds, "cooldown", 0, "seconds that a buyer waits after an unpaid order")
	f.StringVar((*string)(&v.Eligible), "eligible", "", "who may buy: everybody, account_age or list")
	f.Int64Var(&v.AccountAgeSeconds, "account-age", 0, "seconds that an account must exist, with --eligible account_age")
	f.StringVar((*string)(&v.LatePayment), "late-payment", "", "what becomes of money for an order that has ended: refund (it goes back; the default) or retake (it takes units again, if there are any)")
	f.StringVar(&v.Notice, "notice", "", "what its buyers are told on its page")
	f.StringVar(&key, "key", "", "the sale's `key`, to repeat a command whose answer was lost (default: a new one)")
	f.StringVar((*string)(&v.Shelf), "shelf", "", "who sees it: published (everybody), hidden (who has its address) or draft (nobody, until it is published)")
	for _, name := range []string{"title", "price", "total"} {
		cmd.MarkFlagRequired(name)
	}
	return cmd
}

// repeatable says how to send a creation again whose outcome is not known.
func repeatable(err error, key string, v seckill.Sale) error {
	var no *client.Problem
	if errors.As(err, &no) && no.Status < 500 {
		return err
	}
	return fmt.Errorf("%w\nThe sale may have been created. To send the same one again, repeat the command with --key %s --opens %s --closes %s",
		err, key, v.OpensAt.UTC().Format(time.RFC3339Nano), v.ClosesAt.UTC().Format(time.RFC3339Nano))
}

// when reads a time, or a duration after base.
func when(s string, base time.Time) (time.Time, error) {
	if s == "now" {
		return base, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return base.Add(d), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, fmt.Errorf("%q is neither a time such as 2026-11-11T12:00:00Z nor a duration such as 10m", s)
	}
	return t, nil
}

// sales reads all pages of the list.
func (s *server) sales(cmd *cobra.Command) ([]seckill.Sale, error) {
	return ask(s, cmd, func(ctx context.Context, c *client.Client) ([]seckill.Sale, error) { return c.Sales(ctx) })
}

func (s *server) list() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List sales, newest first",
		Example: `  seckill sale list
  seckill sale list --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := s.sales(cmd)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd, all)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "SALE\tSTATE\tLEFT\tTOTAL\tPRICE\tOPENS\tCLOSES\tTITLE")
			for _, v := range all {
				fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\n", v.ID, v.State, v.Left, v.Total, seckill.FormatMoney(v.Price, v.Currency),
					v.OpensAt.Format(time.RFC3339), v.ClosesAt.Format(time.RFC3339), v.Title)
			}
			return w.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

func (s *server) stock() *cobra.Command {
	var id string
	var delta int64
	cmd := &cobra.Command{
		Use:   "stock SALE --delta N",
		Short: "Move units into a sale, or out of it",
		Long: `Move units into a sale, or out of it. A move has an id, and the same id is one
move however often it is sent: give --id to repeat a move whose answer was lost.
Moving out is all or nothing: the gate must hold the units.`,
		Example: `  seckill sale stock 1 --delta 100
  seckill sale stock 1 --delta -20 --id recount-7`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if id == "" {
				id = rand.Text()
			}
			return s.change(cmd, args[0], "stock", map[string]any{"id": id, "delta": delta})
		},
	}
	cmd.Flags().StringVar(&id, "id", "", "the move's `id` (default: a new one)")
	cmd.Flags().Int64Var(&delta, "delta", 0, "units, negative to take out")
	cmd.MarkFlagRequired("delta")
	return cmd
}

// named checks the ids of sales that a command was given; none is all of them.
func (s *server) named(cmd *cobra.Command, ids []string) ([]string, error) {
	for _, id := range ids {
		if _, err := seckill.ParseSaleID(id); err != nil {
			return nil, fmt.Errorf("%q is not a sale's id: want a number, see seckill sale list", id)
		}
	}
	if len(ids) > 0 {
		return ids, nil
	}
	all, err := s.sales(cmd)
	for _, v := range all {
		ids = append(ids, v.ID.String())
	}
	return ids, err
}

func newAuditCommand() *cobra.Command {
	var s server
	cmd := &cobra.Command{
		Use:   "audit [SALE]…",
		Short: "Hold the gate and the store of sales against each other",
		Long: `Hold the gate and the store of sales (none named: all of them) against each
other, and print a report for each. The exit status is 0 only if everything holds.`,
		Example: `  seckill audit
  seckill audit 1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			args, err := s.named(cmd, args)
			if err != nil {
				return err
			}
			broken := false
			for _, id := range args {
				report, err := askLong(&s, cmd, func(ctx context.Context, c *client.Client) (seckill.Report, error) { return c.Audit(ctx, id) })
				if err != nil {
					return err
				}
				err = printJSON(cmd, struct {
					Sale string `json:"sale"`
					seckill.Report
				}{id, report})
				if err != nil {
					return err
				}
				broken = broken || !report.OK
			}
			if broken {
				return silentError{}
			}
			return nil
		},
	}
	s.flags(cmd)
	return cmd
}
