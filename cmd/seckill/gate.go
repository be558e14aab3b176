package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"seckill"
	"seckill/internal/client"
)

func newGateCommand() *cobra.Command {
	var s server
	cmd := &cobra.Command{
		Use:   "gate",
		Short: "Look after the gate",
	}
	rebuild := &cobra.Command{
		Use:   "rebuild [SALE]…",
		Short: "Count the gate's state of sales again from the outbox and the store",
		Long: `Count the gate's state of sales (none named: all of them) again: units and
buyers, from the outbox and the store. Each sale is closed for that moment. Nodes
do this by themselves when the gate has lost something, so it is for the rare day
on which somebody has changed Redis or the database by hand.`,
		Example: `  seckill gate rebuild
  seckill gate rebuild 1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			args, err := s.named(cmd, args)
			if err != nil {
				return err
			}
			var failed error
			for _, id := range args {
				sale, err := askLong(&s, cmd, func(ctx context.Context, c *client.Client) (seckill.Sale, error) {
					return c.ChangeSale(ctx, id, "rebuild", nil)
				})
				if err != nil {
					failed = errors.Join(failed, fmt.Errorf("sale %s: %w", id, err)) // the others need not wait
					continue
				}
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "sale %s: %s, %d of %d units left\n", sale.ID, sale.State, sale.Left, sale.Total); err != nil {
					return err
				}
			}
			return failed
		},
	}
	cmd.AddCommand(rebuild)
	s.flags(cmd)
	return cmd
}
