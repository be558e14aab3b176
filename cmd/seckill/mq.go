package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/spf13/cobra"

	"seckill/internal/app"
	"seckill/internal/queue/rabbitmq"
	"seckill/internal/rabbit"
)

// broker is the RabbitMQ that a command talks to: that of the node with the same
// configuration.
type broker struct{ config string }

func newMQCommand() *cobra.Command {
	var b broker
	cmd := &cobra.Command{
		Use:   "mq",
		Short: "Look at RabbitMQ: its exchange types, and dead letters",
		Args:  cobra.NoArgs,
	}
	cmd.PersistentFlags().StringVar(&b.config, "config", "", "configuration `file` (YAML)")
	cmd.PersistentFlags().String("queue", "", "amqp://user:password@host:port/vhost, amqps:// with TLS (default: from the configuration)")
	letters := &cobra.Command{
		Use:   "dead-letters",
		Short: "Look at the messages that nobody could do anything with",
		Long: `Look at the messages that nobody could do anything with: they are no tickets, or
copies of tickets that were refused as poison. A refused ticket has its outcome
and its units are back: its copy is here to be looked at. All wait in the queue
` + rabbit.ParkedQueue + ` until a person decides.

These commands talk to RabbitMQ alone and write nothing into the log of
administrators; a replay from the console, or over HTTP, stands there.`,
		Args: cobra.NoArgs,
	}
	letters.AddCommand(newLettersListCommand(&b), newLettersReplayCommand(&b), newLettersDropCommand(&b))
	cmd.AddCommand(newMQDemoCommand(&b), letters)
	return cmd
}

func (b *broker) settings(cmd *cobra.Command) (rabbit.Settings, error) {
	c, err := app.LoadConfig(b.config, os.Environ(), cmd.Flags())
	if err == nil && c.Queue == "memory" {
		err = errors.New("this needs RabbitMQ: give --queue amqp://user:password@host:port/vhost (seckill stack up writes one into a file)")
	}
	return c.RabbitMQ, err
}

func newMQDemoCommand(b *broker) *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show the four exchange types live",
		Long: `Show the four exchange types live: what was sent with which key or headers, which
queues received it and which did not, and why.

It uses exchanges and queues of its own and leaves nothing behind. Who received
what is what was found in the queues.`,
		Example: `  seckill mq demo --queue amqp://seckill:password@127.0.0.1:5672/%2Fseckill`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := b.settings(cmd)
			if err != nil {
				return err
			}
			exhibits, err := rabbit.Demonstrate(cmd.Context(), s)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			_, err = io.WriteString(out, showExhibits(exhibits, colourful(terminal(out), os.Getenv("NO_COLOR"))))
			return err
		},
	}
}

// Colours of a terminal.
const (
	bold  = "\x1b[1m"
	green = "\x1b[32m"
	red   = "\x1b[31m"
	plain = "\x1b[0m"
)

// colourful reports whether to paint: on a terminal, unless NO_COLOR says anything.
func colourful(terminal bool, noColor string) bool { return terminal && noColor == "" }

func showExhibits(exhibits []rabbit.Exhibit, colour bool) string {
	paint := func(how, text string) string {
		if !colour {
			return text
		}
		return how + text + plain
	}
	var w strings.Builder
	for i, x := range exhibits {
		if i > 0 {
			w.WriteString("\n")
		}
		fmt.Fprintf(&w, "%s (%s)\n", paint(bold, x.Type), x.Use)
		for _, b := range x.Bindings {
			asks := b.Key
			if len(b.Headers) > 0 {
				match := "all"
				if b.Any {
					match = "any"
				}
				asks = "x-match=" + match + " " + pairs(b.Headers)
			}
			if asks != "" {
				asks = " with " + asks
			}
			fmt.Fprintf(&w, "  queue %-10s bound%s\n", b.Queue, asks)
		}
		for _, m := range x.Sent {
			what := fmt.Sprintf("key %q", m.Key)
			if len(m.Headers) > 0 {
				what = "headers " + pairs(m.Headers)
			}
			if m.Returned {
				what += ", returned to the sender: no queue wants it"
			}
			fmt.Fprintln(&w, "  sent with "+what)
			for j, b := range x.Bindings {
				verdict := paint(red, "not received")
				if m.Received[j] {
					verdict = paint(green, "received    ")
				}
				fmt.Fprintf(&w, "    %-10s  %s  %s\n", b.Queue, verdict, m.Why[j])
			}
		}
	}
	return w.String()
}

func pairs(m map[string]string) string {
	var all []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		all = append(all, k+"="+m[k])
	}
	return strings.Join(all, " ")
}

func newLettersListCommand(b *broker) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List dead letters with what is known of them",
		Example: `  seckill mq dead-letters list --queue amqp://seckill:password@127.0.0.1:5672/%2Fseckill`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.look(cmd, func(d *rabbitmq.Desk) error {
				out := cmd.OutOrStdout()
				if d.Waiting > 0 {
					fmt.Fprintf(out, "%d wait to be tried alone by a node that settles.\n", d.Waiting)
				}
				if len(d.Parked) == 0 {
					if d.Waiting == 0 {
						fmt.Fprintln(out, "no dead letters")
					}
					return nil
				}
				w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
				fmt.Fprintln(w, "ID\tREASON\tDEATHS\tPARKED\tSALE\tBUYER\tQUANTITY\tREMARK")
				for _, p := range d.Parked {
					sale, buyer, quantity, remark := "-", "-", "-", "a ticket"
					if t := p.Ticket; t != nil {
						sale, buyer, quantity = t.Sale.String(), printable(t.Buyer), fmt.Sprint(t.Quantity)
					} else {
						remark = fmt.Sprintf("no ticket (%v): %s", p.Wrong, excerpt(p.Body))
					}
					if p.Cause != "" {
						remark = "a refused ticket: " + printable(p.Cause)
					}
					parked := "-"
					if !p.At.IsZero() {
						parked = p.At.UTC().Format("2006-01-02T15:04:05Z")
					}
					fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", printable(p.ID), orDash(printable(p.Reason)), p.Deaths, parked, sale, buyer, quantity, remark)
				}
				if err := w.Flush(); err != nil || d.More == 0 {
					return err
				}
				_, err := fmt.Fprintf(out, "and %d more: replay or drop these to see them.\n", d.More)
				return err
			})
		},
	}
}

func newLettersReplayCommand(b *broker) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "replay [ID…]",
		Short: "Send dead letters to the ticket queue again",
		Long: `Send dead letters to the ticket queue again. Each leaves the dead letters when the
ticket queue has confirmed it. --all leaves alone what is no ticket, or carries no
seal of a gate: it would only come back. A ticket that has its outcome keeps it.`,
		Example: `  seckill mq dead-letters replay 0198c0ffee
  seckill mq dead-letters replay --all`,
		RunE: func(cmd *cobra.Command, ids []string) error {
			if all == (len(ids) > 0) {
				return errors.New("name the dead letters to replay, or give --all")
			}
			return b.look(cmd, func(d *rabbitmq.Desk) error {
				return chosen(cmd, d, ids, "replayed", func(p rabbitmq.Parked) error {
					if all && (p.Ticket == nil || !p.Sealed()) {
						return errSkipped
					}
					return d.Replay(cmd.Context(), p)
				})
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all that are tickets")
	return cmd
}

func newLettersDropCommand(b *broker) *cobra.Command {
	var all, yes bool
	cmd := &cobra.Command{
		Use:   "drop [ID…]",
		Short: "Throw dead letters away",
		Long: `Throw dead letters away. A ticket that is dropped is not lost for its buyer: it has
its outcome, or is sent again from the gate's outbox until it has one.`,
		Example: `  seckill mq dead-letters drop 0198c0ffee
  seckill mq dead-letters drop --all --yes`,
		RunE: func(cmd *cobra.Command, ids []string) error {
			if all == (len(ids) > 0) {
				return errors.New("name the dead letters to drop, or give --all --yes")
			}
			if all && !yes {
				return errors.New("--all drops every dead letter for good: say --yes too, or name them")
			}
			return b.look(cmd, func(d *rabbitmq.Desk) error { return chosen(cmd, d, ids, "dropped", d.Drop) })
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all of them, with --yes")
	cmd.Flags().BoolVar(&yes, "yes", false, "yes, all of them: what is dropped is gone")
	return cmd
}

// look takes the dead letters in hand and puts back what is left.
func (b *broker) look(cmd *cobra.Command, do func(*rabbitmq.Desk) error) error {
	s, err := b.settings(cmd)
	if err != nil {
		return err
	}
	d, err := rabbitmq.Look(cmd.Context(), s)
	if err != nil {
		return err
	}
	return errors.Join(do(d), d.Close())
}

var errSkipped = errors.New("skipped")

// chosen does something with the dead letters of these ids, all of them if none
// is given, and says with how many.
func chosen(cmd *cobra.Command, d *rabbitmq.Desk, ids []string, done string, do func(rabbitmq.Parked) error) error {
	n, skipped, found := 0, 0, map[string]bool{}
	var failed error
	for _, p := range d.Parked {
		if len(ids) > 0 && !slices.Contains(ids, p.ID) {
			continue
		}
		found[p.ID] = true
		switch err := do(p); {
		case errors.Is(err, errSkipped):
			skipped++
			continue
		case err != nil:
			failed = err
		default:
			n++
		}
		if failed != nil {
			break
		}
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%d %s\n", n, done)
	if d.More > 0 && len(ids) == 0 {
		fmt.Fprintf(cmd.OutOrStdout(), "%d more were not looked at: say it again\n", d.More)
	}
	if skipped > 0 {
		fmt.Fprintf(cmd.OutOrStdout(), "%d left alone: no tickets of a gate\n", skipped)
	}
	if failed != nil {
		return failed
	}
	for _, id := range ids {
		if !found[id] {
			err := fmt.Errorf("no dead letter has the id %q (seckill mq dead-letters list)", id)
			if d.More > 0 {
				err = fmt.Errorf("%w among the first %d; %d more were not looked at", err, len(d.Parked), d.More)
			}
			return err
		}
	}
	return nil
}

// excerpt is the beginning of a body that may be anything.
func excerpt(body []byte) string {
	text := string(body[:min(60, len(body))])
	if len(body) > 60 {
		text += "…"
	}
	return fmt.Sprintf("%q", text)
}

// printable keeps a foreign id from writing on the terminal what it likes.
func printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Sprintf("%q", s)
	}
	return s
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
