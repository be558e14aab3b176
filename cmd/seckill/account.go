package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"seckill"
	"seckill/internal/account"
	"seckill/internal/app"
)

// accounts are the commands that work on the store itself.
type accounts struct{ config string }

func newAccountCommand() *cobra.Command {
	var a accounts
	cmd := &cobra.Command{
		Use:   "account",
		Short: "Make accounts, and decide who may do what",
		Long: `Make accounts, and decide who may do what, in the store directly: it works while a
node runs and while none does, and it is how the first administrator comes to be.

Another password, another role and a block end the account's sessions, on every
running node within a second. Each change stands in the log (seckill log).`,
		Example: `  seckill account create alice --role admin
  seckill account list
  seckill account block alice`,
	}
	f := cmd.PersistentFlags()
	f.StringVar(&a.config, "config", "", "configuration `file` (YAML)")
	f.String("data-dir", app.Defaults().DataDir, "`directory` of the embedded parts")
	f.String("store", "", "sqlite:FILE or mysql://… (default: seckill.db in the data directory)")
	cmd.AddCommand(a.create(), a.password(), a.block(), a.role(), a.list(), a.delete())
	return cmd
}

// with works on the accounts of the configured store, as whoever runs the command.
func (a *accounts) with(cmd *cobra.Command, do func(ctx context.Context, accounts *account.Accounts) error) error {
	c, err := app.LoadConfig(a.config, os.Environ(), cmd.Flags())
	if err != nil {
		return err
	}
	from, _ := os.Hostname()
	if u, err := user.Current(); err == nil {
		from = u.Username + "@" + from
	}
	words := strings.Fields(cmd.CommandPath())
	what := "people." + words[len(words)-1]
	ctx := seckill.WithActor(cmd.Context(), seckill.Actor{Who: "cli", Role: seckill.RoleAdmin, From: from, What: what, Intent: strings.Join(append(words, cmd.Flags().Args()...), " ")})
	return app.WithAccounts(ctx, c, func(accounts *account.Accounts) error { return do(ctx, accounts) })
}

func (a *accounts) create() *cobra.Command {
	var role string
	var fromStdin bool
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make an account",
		Long:  "Make an account. A password is made and printed, unless one is given on the\nstandard input.",
		Example: `  seckill account create alice --role admin
  seckill account create bob --password-stdin < password.txt`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkRole(role); err != nil {
				return err
			}
			password, err := newPassword(cmd, fromStdin)
			if err != nil {
				return err
			}
			var s account.Session
			err = a.with(cmd, func(ctx context.Context, accounts *account.Accounts) error {
				s, err = accounts.Register(ctx, args[0], password, role)
				return err
			})
			if err != nil {
				return fmt.Errorf("account %q: %w", args[0], err)
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "account  %s\nbuyer    %s\n", args[0], s.Buyer)
			if role != "" {
				fmt.Fprintf(out, "role     %s\n", role)
			}
			sayPassword(out, password, fromStdin)
			return nil
		},
	}
	cmd.Flags().StringVar(&role, "role", "", "viewer, support, operator or admin; nothing for a buyer")
	cmd.Flags().BoolVar(&fromStdin, "password-stdin", false, "read the password from the standard input")
	return cmd
}

func (a *accounts) password() *cobra.Command {
	var fromStdin, noFactor bool
	cmd := &cobra.Command{
		Use:   "password NAME",
		Short: "Set an account's password, and end its sessions",
		Long: `Set an account's password, and end its sessions. A password is made and printed,
unless one is given on the standard input.`,
		Example: `  seckill account password alice
  seckill account password alice --remove-second-factor`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			password, err := newPassword(cmd, fromStdin)
			if err != nil {
				return err
			}
			err = a.change(cmd, args[0], func(ctx context.Context, accounts *account.Accounts) (account.Person, error) {
				return accounts.SetPassword(ctx, args[0], password, noFactor)
			})
			if err == nil {
				sayPassword(cmd.OutOrStdout(), password, fromStdin)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&fromStdin, "password-stdin", false, "read the password from the standard input")
	cmd.Flags().BoolVar(&noFactor, "remove-second-factor", false, "take the second factor away too: the device is lost")
	return cmd
}

func (a *accounts) block() *cobra.Command {
	var lift bool
	cmd := &cobra.Command{
		Use:   "block NAME",
		Short: "Keep an account out, on every node within a second",
		Example: `  seckill account block alice
  seckill account block alice --lift`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.change(cmd, args[0], func(ctx context.Context, accounts *account.Accounts) (account.Person, error) {
				return accounts.SetBlocked(ctx, args[0], !lift)
			})
		},
	}
	cmd.Flags().BoolVar(&lift, "lift", false, "let it in again")
	return cmd
}

func (a *accounts) role() *cobra.Command {
	var role string
	cmd := &cobra.Command{
		Use:   "role NAME --role ROLE",
		Short: "Give an account a role, and end its sessions",
		Example: `  seckill account role alice --role operator
  seckill account role alice --role ""`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkRole(role); err != nil {
				return err
			}
			return a.change(cmd, args[0], func(ctx context.Context, accounts *account.Accounts) (account.Person, error) {
				return accounts.SetRole(ctx, args[0], role)
			})
		},
	}
	cmd.Flags().StringVar(&role, "role", "", "viewer, support, operator or admin; nothing for a buyer")
	cmd.MarkFlagRequired("role")
	return cmd
}

func (a *accounts) list() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [BEGINNING]",
		Short: "List who has a role, or the accounts whose names begin so",
		Example: `  seckill account list
  seckill account list ali --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f := seckill.AccountFilter{Max: 1000}
			if len(args) > 0 {
				f.Begins = args[0]
			}
			people := []account.Person{}
			err := a.with(cmd, func(ctx context.Context, accounts *account.Accounts) error {
				for {
					page, err := accounts.People(ctx, f)
					if people = append(people, page...); err != nil || len(page) < f.Max {
						return err
					}
					f.After = page[len(page)-1].Name
				}
			})
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd, people)
			}
			return table(cmd.OutOrStdout(), people)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *accounts) delete() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete an account; what it has bought stays",
		Long:  "Delete an account; what it has bought stays. It cannot be undone, so it asks for the\nname once more, unless --yes is given.",
		Example: `  seckill account delete alice
  seckill account delete alice --yes`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes {
				fmt.Fprintf(cmd.OutOrStdout(), "Type %s to delete the account: ", args[0])
				if line, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n'); strings.TrimSpace(line) != args[0] {
					return errors.New("nothing is deleted: the name was not typed (--yes does not ask)")
				}
			}
			err := a.with(cmd, func(ctx context.Context, accounts *account.Accounts) error { return accounts.Delete(ctx, args[0]) })
			return named(args[0], err)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// change changes an account and prints what it is now.
func (a *accounts) change(cmd *cobra.Command, name string, do func(ctx context.Context, accounts *account.Accounts) (account.Person, error)) error {
	var p account.Person
	err := a.with(cmd, func(ctx context.Context, accounts *account.Accounts) (err error) {
		p, err = do(ctx, accounts)
		return err
	})
	if err != nil {
		return named(name, err)
	}
	return table(cmd.OutOrStdout(), []account.Person{p})
}

func named(name string, err error) error {
	if errors.Is(err, seckill.ErrNotFound) {
		return fmt.Errorf("account %q: there is none (see seckill account list)", name)
	}
	if err != nil {
		return fmt.Errorf("account %q: %w", name, err)
	}
	return nil
}

func table(out io.Writer, people []account.Person) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tROLE\tBLOCKED\tSECOND FACTOR\tMADE\tBUYER")
	yes := map[bool]string{true: "yes", false: "no"}
	for _, p := range people {
		role := p.Role
		if role == "" {
			role = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", p.Name, role, yes[p.Blocked], yes[p.Factor], p.CreatedAt.Format(time.DateOnly), p.Buyer)
	}
	return w.Flush()
}

// newPassword is the one on the standard input, or else one that is made.
func newPassword(cmd *cobra.Command, fromStdin bool) (string, error) {
	if !fromStdin {
		return strings.ToLower(rand.Text()[:16]), nil
	}
	line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if line == "" && err != nil {
		return "", errors.New("--password-stdin: there is no password on the standard input")
	}
	return strings.TrimRight(line, "\r\n"), nil
}

func sayPassword(out io.Writer, password string, given bool) {
	if !given {
		fmt.Fprintf(out, "password %s\n", password)
	}
}

func checkRole(role string) error {
	if role != "" && !slices.Contains(seckill.Roles(), role) {
		return fmt.Errorf("--role %q: want %s, or nothing for a buyer", role, strings.Join(seckill.Roles(), ", "))
	}
	return nil
}
