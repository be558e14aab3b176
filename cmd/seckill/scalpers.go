package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"seckill"
	"seckill/internal/access"
	"seckill/internal/account"
	"seckill/internal/load"
)

// scalpers are the flags of a load run with a farm beside people.
type scalpers struct {
	farm     string
	limited  string
	lead     time.Duration
	seed     uint64
	defences []string
}

func (s *scalpers) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.farm, "scalpers", "", "put a farm beside --buyers people, at a fresh sale for each defence, such as\n\"accounts=1000,networks=50,solver=2s,cores=8\"")
	f.DurationVar(&s.lead, "lead", 20*time.Second, "with --scalpers: time between the creation of a sale that costs a challenge and its opening")
	f.Uint64Var(&s.seed, "seed", 1, "with --scalpers: what the actors are is drawn from it")
	f.StringVar(&s.limited, "limited-server", "", "with --scalpers: base `address` of a second server, with the same secret and tight limits by buyer\n(access.buyer_rate, access.buyer_burst): the defences limits and all meet there")
	var all []string
	for _, d := range load.Defences() {
		all = append(all, d.Name)
	}
	f.StringSliceVar(&s.defences, "defences", all, "with --scalpers: the `defences` to try, each alone, and all")
}

// run lets them meet and writes the table.
func (s *scalpers) run(cmd *cobra.Command, server string, people int, units int64, key []byte, adminToken string, asJSON bool) error {
	farm, err := load.ParseFarm(s.farm)
	if err != nil {
		return fmt.Errorf("--scalpers: %w", err)
	}
	known := load.Defences()
	var wanted []load.Defence
	for _, name := range s.defences {
		if name == load.NameLimits && s.limited == "" {
			if cmd.Flags().Changed("defences") {
				return fmt.Errorf("--defences %s needs --limited-server", name)
			}
			continue // nothing here is limited
		}
		i := slices.IndexFunc(known, func(d load.Defence) bool { return d.Name == name })
		if i < 0 {
			return fmt.Errorf("--defences: there is none called %q", name)
		}
		wanted = append(wanted, known[i])
	}
	report, err := load.RunFair(cmd.Context(), load.FairConfig{
		Server: server, Limited: s.limited, Farm: farm, People: people, Units: units, Lead: s.lead, Seed: s.seed, Defences: wanted, AdminToken: adminToken,
		Token: func(buyer string, age time.Duration) (string, error) {
			return account.MintSince(key, buyer, time.Now().Add(-age), loadTokenLife)
		},
		Solve: solver(key),
		Say:   func(format string, args ...any) { fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...) },
	})
	if err != nil {
		return fmt.Errorf("%w (the server must trust this machine's X-Forwarded-For: http.trusted_proxies)", err)
	}
	if asJSON {
		return printJSON(cmd, report)
	}
	return report.WriteText(cmd.OutOrStdout())
}

// solver solves challenges with the server's secret.
func solver(key []byte) load.Solver {
	return func(sale seckill.SaleID, buyer string, puzzle []byte) (map[string]string, int64, error) {
		var p access.Puzzle
		if err := json.Unmarshal(puzzle, &p); err != nil {
			return nil, 0, err
		}
		v, hashes, err := access.Solve(key, access.ForSale(sale, buyer), p)
		return map[string]string{"work": v.Work, "formula": v.Formula, "answer": v.Answer}, hashes, err
	}
}

const scalpersHelp = `
With --scalpers it measures fairness instead: for each of --defences a fresh sale, a
farm of accounts that asks in the first millisecond, and --buyers people who open the
page before the opening, solve at a person's and a phone's speed and press once. Work
and pictures are solved with the server's secret and take the time that they would
take; networks are addresses in X-Forwarded-For, so the server must list this machine
in http.trusted_proxies.
`
