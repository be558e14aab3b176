package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"seckill"
	"seckill/internal/client"
)

func newWebhooksCommand() *cobra.Command {
	var s server
	cmd := &cobra.Command{
		Use:   "webhooks",
		Short: "See what the receivers of webhooks were sent, and send it again",
	}
	cmd.AddCommand(newWebhooksListCommand(&s), newDeliveriesCommand(&s), newReplayCommand(&s))
	s.flags(cmd)
	return cmd
}

func newWebhooksListCommand(s *server) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "The receivers and how each is served",
		Example: `  seckill webhooks list --server https://shop.example`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := ask(s, cmd, func(ctx context.Context, c *client.Client) (v struct{ Items []seckill.ReceiverState }, err error) {
				return v, c.Call(ctx, http.MethodGet, "/api/admin/webhooks", nil, &v)
			})
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tWAITING\tOLDEST\tGIVEN UP\tDELIVERED\tURL")
			for _, r := range list.Items {
				fmt.Fprintf(w, "%s\t%d\t%s\t%d\t%s\t%s\n", r.Name, r.Waiting, moment(r.Oldest), r.Failed, moment(r.Last), r.URL)
				if r.Stopped != nil {
					fmt.Fprintf(w, "%s\tstopped\t%s\t%s\n", r.Name, moment(r.Stopped), r.Why)
				}
			}
			return w.Flush()
		},
	}
}

// moment is one that may be missing.
func moment(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.Format(time.RFC3339)
}

func newDeliveriesCommand(s *server) *cobra.Command {
	var state, order string
	var most int
	cmd := &cobra.Command{
		Use:     "deliveries NAME",
		Short:   "What a receiver was sent and what waits for it, the newest orders first",
		Example: `  seckill webhooks deliveries erp --state waiting`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{"state": {state}, "order": {order}, "limit": {fmt.Sprint(most)}}
			list, err := ask(s, cmd, func(ctx context.Context, c *client.Client) (v struct{ Items []seckill.Delivery }, err error) {
				return v, c.Call(ctx, http.MethodGet, "/api/admin/webhooks/"+url.PathEscape(args[0])+"/deliveries?"+q.Encode(), nil, &v)
			})
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "EVENT\tTYPE\tHAPPENED\tSTATE\tTRIES\tNEXT\tERROR")
			for _, d := range list.Items {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", d.Event, d.Type, moment(&d.At), d.State, d.Tries, moment(d.Next), d.Error)
			}
			return w.Flush()
		},
	}
	f := cmd.Flags()
	f.StringVar(&state, "state", "", "only those that are `waiting`, delivered or failed")
	f.StringVar(&order, "order", "", "only those of this order's `id`")
	f.IntVar(&most, "limit", 20, "at most so many, 1 to 100")
	return cmd
}

func newReplayCommand(s *server) *cobra.Command {
	var event, from, to string
	cmd := &cobra.Command{
		Use:   "replay NAME",
		Short: "Send a receiver again what it had, or what had been given up",
		Long: `Send a receiver again one event, whatever happened in a period, or, with nothing
named, what had been given up. It also starts a receiver that was stopped because it
answered 410. A receiver knows what it has had by the ids of the events.`,
		Example: `  seckill webhooks replay erp
  seckill webhooks replay erp --from 2026-11-11T00:00:00Z --to 2026-11-12T00:00:00Z`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]string{}
			for name, value := range map[string]string{"event": event, "from": from, "to": to} {
				if value == "" {
					continue
				}
				if _, err := time.Parse(time.RFC3339, value); name != "event" && err != nil {
					return errors.New("--" + name + " must be a moment such as 2026-11-11T00:00:00Z")
				}
				body[name] = strings.TrimSpace(value)
			}
			said, err := ask(s, cmd, func(ctx context.Context, c *client.Client) (v struct{ Replayed int }, err error) {
				return v, c.Call(ctx, http.MethodPost, "/api/admin/webhooks/"+url.PathEscape(args[0])+"/replay", body, &v)
			})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d events are sent to %s again\n", said.Replayed, args[0])
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&event, "event", "", "the event with this `id`")
	f.StringVar(&from, "from", "", "whatever happened from this `moment` (RFC 3339)")
	f.StringVar(&to, "to", "", "until before this `moment`")
	return cmd
}
