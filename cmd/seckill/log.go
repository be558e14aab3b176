package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"seckill"
	"seckill/internal/client"
)

func newLogCommand() *cobra.Command {
	var s server
	var who, what, sale, before string
	var limit int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "log",
		Short: "What people of the shop did, newest first",
		Long: `What people of the shop did, newest first: each change with its result, logins,
refusals and new tokens. It does not depend on log.level. --json shows what was asked
for, what was before and what is after it.`,
		Example: `  seckill log
  seckill log --what sales.pause --sale 1
  seckill log --what people --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{"limit": {strconv.Itoa(limit)}}
			for name, v := range map[string]string{"who": who, "what": what, "sale": sale, "before": before} {
				if v != "" {
					q.Set(name, v)
				}
			}
			var list struct {
				Items []seckill.LogEntry `json:"items"`
				Next  string             `json:"next"`
			}
			_, err := ask(&s, cmd, func(ctx context.Context, c *client.Client) (struct{}, error) {
				return struct{}{}, c.Call(ctx, http.MethodGet, "/api/admin/log?"+q.Encode(), nil, &list)
			})
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd, list.Items)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "AT\tWHO\tROLE\tFROM\tWHAT\tSALE\tSUBJECT\tRESULT")
			for _, e := range list.Items {
				id := "-"
				if e.Sale != 0 {
					id = e.Sale.String()
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.At.UTC().Format("2006-01-02T15:04:05.000Z"), e.Who, e.Role, e.From, e.What, id, e.Subject, e.Result)
			}
			if err := w.Flush(); err != nil || list.Next == "" {
				return err
			}
			_, err = fmt.Fprintf(cmd.ErrOrStderr(), "There are older ones: --before %s\n", list.Next)
			return err
		},
	}
	s.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&who, "who", "", "only what this `buyer` did")
	f.StringVar(&what, "what", "", "only this `action`, such as sales.pause, or the beginning of several: sales, orders, people, login, token")
	f.StringVar(&sale, "sale", "", "only of this sale")
	f.StringVar(&before, "before", "", "only entries below this `id`")
	f.IntVar(&limit, "limit", 50, "at most so many, 1 to 100")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
