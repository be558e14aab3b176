package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"seckill/internal/app"
)

func newServeCommand() *cobra.Command {
	var file string
	d := app.Defaults()
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a node",
		Long: `Run a node: the API, the storefront, and everything behind them.

Without any flag it runs alone on embedded parts and keeps its data in ./data.
Settings come from the defaults, then --config, then the environment
(SECKILL_LISTEN, SECKILL_AUTH_SECRET, …), then flags; "seckill config" shows the
result. SIGTERM or Ctrl-C stops it gracefully: requests under way are answered,
and every buyer who was told "queued" has an outcome after the next start at the
latest. It goes on when whoever reads its output is gone, and after SIGHUP: there
is no file to open again, and a changed configuration needs a restart.`,
		Example: `  seckill serve --demo
  seckill serve --listen :80 --data-dir /var/lib/seckill
  SECKILL_AUTH_SECRET_FILE=/run/secrets/seckill seckill serve --config seckill.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := app.LoadConfig(file, os.Environ(), cmd.Flags())
			if err != nil {
				return err
			}
			// A sale is a burst of garbage on a small heap. Collecting it less often admits
			// more buyers for more memory: figures in docs/benchmarks.md.
			if os.Getenv("GOGC") == "" {
				debug.SetGCPercent(400)
			}
			log := logger(c, cmd.ErrOrStderr())
			n, err := app.Open(cmd.Context(), c, log)
			if err != nil {
				return err
			}
			hangups := make(chan os.Signal, 1)
			signal.Notify(hangups, syscall.SIGHUP)
			defer signal.Stop(hangups)
			go func() {
				for {
					select {
					case <-hangups:
						log.Info("SIGHUP: the node goes on; a changed configuration is read at the next start")
					case <-cmd.Context().Done():
						return
					}
				}
			}()
			return n.Run(cmd.Context(), func(ctx context.Context) {
				if !c.Demo {
					return
				}
				if err := n.Demo(ctx, cmd.OutOrStdout()); err != nil {
					log.Error("demo", "error", err)
				}
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "config", "", "configuration `file` (YAML)")
	f.String("listen", d.Listen, "public `address`")
	f.String("admin-listen", d.AdminListen, "`address` for the console and the routes of administration alone (default: the public one)")
	f.String("ops-listen", d.OpsListen, "`address` for health, metrics and profiles; keep it private")
	f.String("data-dir", d.DataDir, "`directory` of the embedded parts")
	f.Bool("demo", false, "fill an empty store with sales and accounts, and print them")
	f.String("gate", string(d.Gate), "memory, or redis://user:password@host:port/db")
	f.String("queue", string(d.Queue), "memory, or amqp://user:password@host:port/vhost")
	f.String("store", string(d.Store), "sqlite:FILE, or mysql://user:password@host:port/db (default: sqlite:seckill.db in the data directory)")
	f.StringSlice("run", d.Run, "`roles` of this node")
	return cmd
}

func newConfigCommand() *cobra.Command {
	var file string
	var reference bool
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the effective configuration, secrets hidden",
		Example: `  seckill config
  seckill config --reference
  SECKILL_LIMITS_OUTBOX=5000 seckill config --config seckill.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if reference {
				_, err := io.WriteString(cmd.OutOrStdout(), app.Reference())
				return err
			}
			c, err := app.LoadConfig(file, os.Environ(), nil)
			if err != nil {
				return err
			}
			b, err := c.Show()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(b)
			return err
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration `file` (YAML)")
	cmd.Flags().BoolVar(&reference, "reference", false, "describe every setting, as a Markdown table")
	return cmd
}
