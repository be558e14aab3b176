package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"seckill"
	"seckill/internal/account"
	"seckill/internal/app"
)

func newAccountCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "account", Short: "Make accounts"}
	var file, role string
	var fromStdin bool
	create := &cobra.Command{
		Use:   "create NAME",
		Short: "Make an account, in the store directly",
		Long: `Make an account, in the store directly: it works while a node runs and while none
does, and it is how the first administrator comes to be. A password is made and
printed, unless one is given on the standard input.`,
		Example: `  seckill account create alice --role admin
  seckill account create bob --password-stdin < password.txt`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if role != "" && role != seckill.RoleAdmin {
				return fmt.Errorf("--role %q: want %s, or nothing for a buyer", role, seckill.RoleAdmin)
			}
			password := strings.ToLower(rand.Text()[:16])
			if fromStdin {
				line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
				if line == "" && err != nil {
					return errors.New("--password-stdin: there is no password on the standard input")
				}
				password = strings.TrimRight(line, "\r\n")
			}
			c, err := app.LoadConfig(file, os.Environ(), cmd.Flags())
			if err != nil {
				return err
			}
			s, err := app.CreateAccount(cmd.Context(), c, args[0], password, role)
			if err != nil {
				return fmt.Errorf("account %q: %w", args[0], err)
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "account  %s\nbuyer    %s\n", args[0], s.Buyer)
			if role != "" {
				fmt.Fprintf(out, "role     %s\n", role)
			}
			if !fromStdin {
				fmt.Fprintf(out, "password %s\n", password)
			}
			return nil
		},
	}
	f := create.Flags()
	f.StringVar(&role, "role", "", "admin, or nothing for a buyer")
	f.BoolVar(&fromStdin, "password-stdin", false, "read the password from the standard input")
	f.StringVar(&file, "config", "", "configuration `file` (YAML)")
	f.String("data-dir", app.Defaults().DataDir, "`directory` of the embedded parts")
	f.String("store", "", "sqlite:FILE or mysql://… (default: seckill.db in the data directory)")
	cmd.AddCommand(create)
	return cmd
}

func newTokenCommand() *cobra.Command {
	var s server
	var buyer, role string
	var life time.Duration
	cmd := &cobra.Command{
		Use:   "token --buyer ID",
		Short: "Make a token for scripts and tests",
		Long: `Make a token for scripts and tests, signed with the server's secret: the one in
SECKILL_AUTH_SECRET, in --secret-file, or in the data directory.`,
		Example: `  curl -X POST -H "Authorization: Bearer $(seckill token --buyer alice)" localhost:8080/api/sales/1/ticket
  seckill token --buyer root --role admin --life 1h`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if role != "" && role != seckill.RoleAdmin {
				return fmt.Errorf("--role %q: want %s, or nothing for a buyer", role, seckill.RoleAdmin)
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
	cmd.Flags().StringVar(&role, "role", "", "admin, or nothing for a buyer")
	cmd.Flags().DurationVar(&life, "life", 24*time.Hour, "how long the token is valid")
	cmd.MarkFlagRequired("buyer")
	return cmd
}
