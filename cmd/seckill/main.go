// Command seckill runs flash sales: one binary that serves, administers, audits
// and loads them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // --zone and ?zone= also where the machine has no zone files

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"seckill/internal/app"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// Who reads the output may go away: a write then fails, and the process goes on.
	signal.Ignore(syscall.SIGPIPE)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once, which is safe too
	code := run(ctx, takeArgs(os.Args), os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main without the process: it returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		var silent silentError
		if !errors.As(err, &silent) {
			fmt.Fprintln(stderr, "seckill:", err)
		}
		return 1
	}
	return 0
}

// silentError ends the process with status 1 when everything has been said.
type silentError struct{}

func (silentError) Error() string { return "exit status 1" }

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "seckill",
		Short: "Flash sales (秒杀): a few units, very many buyers, one second",
		Long: `Flash sales (秒杀): a few units, very many buyers, one second.

It never sells a unit twice, never loses a buyer whom it told "queued", and leaves
no unit unsold while somebody still wants it.`,
		Example: `  # everything in one process, with sales to try
  seckill serve --demo

  # then, in another terminal: 20,000 buyers for 1,000 units
  seckill load`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newServeCommand(), newSaleCommand(), newAuditCommand(), newBooksCommand(), newOrdersCommand(), newRefundsCommand(), newWebhooksCommand(), newAccountCommand(), newLogCommand(), newAccessCommand(), newTokenCommand(), newLoadCommand(), newConfigCommand(), newGateCommand(), newStackCommand(), newMQCommand(), newVersionCommand())
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return sayWhatToWrite(err) })
	return root
}

// logger writes for people on a terminal and for machines elsewhere.
func logger(c app.Config, w io.Writer) *slog.Logger {
	format := c.Log.Format
	if format == "auto" {
		format = "json"
		if terminal(w) {
			format = "text"
		}
	}
	if format == "text" {
		return slog.New(tint.NewTextHandler(w, &tint.Options{Level: c.Log.Level, TimeFormat: "15:04:05.000", NoColor: !terminal(w)}))
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: c.Log.Level}))
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  seckill version",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "seckill", app.Version())
			return err
		},
	}
}
