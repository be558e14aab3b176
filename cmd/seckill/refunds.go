package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"seckill"
	"seckill/internal/client"
)

func newRefundsCommand() *cobra.Command {
	var s server
	var state string
	var asJSON bool
	var most int
	cmd := &cobra.Command{
		Use:   "refunds",
		Short: "Refunds: those that are due, and what was given back by hand",
		Long: `Refunds, the newest first: those that the payment provider has not confirmed, with how
often it was asked and what it said last, or those that are done.`,
		Example: `  seckill refunds
  seckill refunds --state done
  seckill refunds done 1K757LBJ8K7QX2MZB4TWJ5RVCA --reason "bank transfer of 2026-11-12"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{"state": {state}, "limit": {fmt.Sprint(max(1, min(most, 100)))}}
			all, err := ask(&s, cmd, func(ctx context.Context, c *client.Client) (all []seckill.Refund, err error) {
				for len(all) < most {
					var page struct {
						Items []seckill.Refund
						Next  string
					}
					if err := c.Call(ctx, http.MethodGet, "/api/admin/refunds?"+q.Encode(), nil, &page); err != nil {
						return nil, err
					}
					all = append(all, page.Items...)
					if page.Next == "" {
						break
					}
					q.Set("cursor", page.Next)
				}
				return all[:min(most, len(all))], nil
			})
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd, all)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "REFUND\tORDER\tPROVIDER\tPAYMENT\tAMOUNT\tSTATE\tMADE\tTRIES\tERROR")
			for _, f := range all {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", f.ID, f.Order, f.Provider, f.Reference, seckill.FormatMoney(f.Amount, f.Currency), f.State, f.MadeAt.Format(time.RFC3339), f.Tries, f.Error)
			}
			return w.Flush()
		},
	}
	s.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&state, "state", string(seckill.RefundDue), "due, done, or early (told without a payment); empty: due and done")
	f.IntVar(&most, "limit", 100, "the most refunds shown")
	f.BoolVar(&asJSON, "json", false, "as JSON")
	cmd.AddCommand(newRefundDoneCommand())
	return cmd
}

func newRefundDoneCommand() *cobra.Command {
	var s server
	var reason string
	cmd := &cobra.Command{
		Use:   "done REFUND",
		Short: "Say that you gave a refund back by another way than the provider",
		Long: `Say that you gave a refund back by another way than the payment provider: it is done,
and the provider is asked no more. It cannot be taken back; the reason stands in the ledger.`,
		Example: `  seckill refunds done 1K757LBJ8K7QX2MZB4TWJ5RVCA --reason "bank transfer of 2026-11-12"`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := ask(&s, cmd, func(ctx context.Context, c *client.Client) (f seckill.Refund, err error) {
				return f, c.Call(ctx, http.MethodPost, "/api/admin/refunds/"+url.PathEscape(args[0])+"/done", map[string]string{"reason": reason}, &f)
			})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "refund %s of %s is %s\n", f.ID, seckill.FormatMoney(f.Amount, f.Currency), f.State)
			return err
		},
	}
	s.flags(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "`how` the money was given back")
	cmd.MarkFlagRequired("reason")
	return cmd
}
