package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"seckill/internal/account"
	"seckill/internal/app"
)

func newTokenCommand() *cobra.Command {
	var s server
	var buyer, role string
	var life time.Duration
	cmd := &cobra.Command{
		Use:   "token --buyer ID",
		Short: "Make a token for scripts and tests",
		Long: `Make a token for scripts and tests, signed with the server's secret: the one in
SECKILL_AUTH_SECRET, in --secret-file, or in the data directory. The first use of one
with a role stands in the log of each node's store (seckill log).`,
		Example: `  curl -X POST -H "Authorization: Bearer $(seckill token --buyer alice)" localhost:8080/api/sales/1/ticket
  seckill token --buyer root --role admin --life 1h`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkRole(role); err != nil {
				return err
			}
			c, secret, err := s.secret(cmd)
			if err != nil {
				return err
			}
			if life > c.Auth.MaxTokenLife {
				return fmt.Errorf("--life %s: no server accepts a token of more than %s (auth.max_token_life, %s)", life, c.Auth.MaxTokenLife, app.EnvName("auth.max_token_life"))
			}
			token, err := account.Mint(secret, buyer, role, life)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
			return err
		},
	}
	s.secretFlags(cmd)
	cmd.Flags().StringVar(&buyer, "buyer", "", "the buyer's `id`")
	cmd.Flags().StringVar(&role, "role", "", "viewer, support, operator or admin; nothing for a buyer")
	cmd.Flags().DurationVar(&life, "life", 24*time.Hour, "how long the token is valid")
	cmd.MarkFlagRequired("buyer")
	return cmd
}
