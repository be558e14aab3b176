package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"seckill/internal/stack"
)

func newStackCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stack",
		Short: "Run real engines from the installed packages",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(newStackUpCommand())
	return cmd
}

func newStackUpCommand() *cobra.Command {
	var o stack.Options
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start Redis, RabbitMQ and MariaDB until Ctrl-C",
		Long: `Start Redis, RabbitMQ and MariaDB until Ctrl-C, and print how a node uses them.

They are those of the packages redis-server, rabbitmq-server and mariadb-server,
with folders, ports and passwords of their own: services of the same packages go
on undisturbed. They listen on 127.0.0.1 only, and what they acknowledge is on
the disk. They end with this command, even if it is killed.

Without --dir all data go at the end. With it they stay, and so do the
passwords: the next start in the same folder goes on where this one ended.`,
		Example: `  # engines to try, on free ports
  seckill stack up

  # the usual ports, and data that stay
  seckill stack up --dir ./engines --redis-port 6379 --rabbitmq-port 5672 \
    --management-port 15672 --mariadb-port 3306`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			ctx := cmd.Context()
			o.Progress = cmd.ErrOrStderr()
			s, err := stack.Up(ctx, o)
			if err != nil {
				if ctx.Err() != nil { // Ctrl-C while starting, and all is ended
					return nil
				}
				return err
			}
			ended := make(chan *stack.Engine, len(s.Engines()))
			for _, e := range s.Engines() {
				done := e.Done()
				go func() {
					<-done
					ended <- e
				}()
			}
			if err = printStack(cmd, s); err == nil {
				select {
				case <-ctx.Done():
				case e := <-ended:
					err = fmt.Errorf("%s ended by itself; %s ends with:\n%s", e.Kind(), e.LogFile(), e.LogTail())
				}
			}
			if down := s.Down(); err == nil {
				err = down
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "dir", "", "`folder` that keeps data and passwords (default: a temporary one)")
	f.IntVar(&o.RedisPort, "redis-port", 0, "`port` of Redis (default: a free one)")
	f.IntVar(&o.RabbitMQPort, "rabbitmq-port", 0, "`port` of RabbitMQ (default: a free one)")
	f.IntVar(&o.ConsolePort, "management-port", 0, "`port` of RabbitMQ's console (default: a free one)")
	f.IntVar(&o.MariaDBPort, "mariadb-port", 0, "`port` of MariaDB (default: a free one)")
	return cmd
}

// printStack says where everything is, and the command of a node that uses it.
func printStack(cmd *cobra.Command, s *stack.Stack) error {
	console, user, password := s.RabbitMQ.Console()
	_, err := fmt.Fprintf(cmd.OutOrStdout(), `
Redis     %[1]s
RabbitMQ  %[2]s
MariaDB   %[3]s
console   %[4]s  (user %[5]s, password %[6]s)

A node on these engines:

  SECKILL_AUTH_SECRET=%[7]s \
  seckill serve \
    --gate %[1]s \
    --queue %[2]s \
    --store %[3]s

Ctrl-C ends the engines.
`, s.Redis.URL(), s.RabbitMQ.URL(), s.MariaDB.URL(), console, user, password, s.AuthSecret)
	return err
}
