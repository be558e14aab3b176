package main

import (
	"errors"
	"fmt"
	"strings"

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

// nginxNodes is how many nodes nginx gets when nobody says: fewer than two would
// show nothing.
const nginxNodes = 2

func newStackUpCommand() *cobra.Command {
	var o stack.Options
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start Redis, RabbitMQ and MariaDB, nodes and nginx until Ctrl-C",
		Long: `Start Redis, RabbitMQ and MariaDB until Ctrl-C, and print how a node uses them,
without a password: those are in a file that only you can read;
with --nodes start nodes on them too, and with --nginx nginx in front of the nodes.

They are those of the packages redis-server, rabbitmq-server, mariadb-server and
nginx, with folders, ports and passwords of their own: services of the same
packages go on undisturbed. They listen on 127.0.0.1 only, and what they
acknowledge is on the disk. They end with this command, even if it is killed.

--nginx without --nodes means two nodes. Nodes are this same binary. They take
further settings from the environment (SECKILL_HTTP_LOGIN_TRIES, …), believe the
addresses that nginx forwards, and are started again when they end. nginx runs
the configuration of deploy/nginx; its limits do not hold for this machine.

Without --dir all data go at the end. With it they stay, and so do the
passwords: the next start in the same folder goes on where this one ended.`,
		Example: `  # engines to try, on free ports
  seckill stack up

  # three nodes behind nginx on http://127.0.0.1:8080
  seckill stack up --nodes 3 --nginx --nginx-port 8080

  # the usual ports, and data that stay
  seckill stack up --dir ./engines --redis-port 6379 --rabbitmq-port 5672 \
    --management-port 15672 --mariadb-port 3306`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			ctx := cmd.Context()
			o.Progress = cmd.ErrOrStderr()
			if o.Nginx && !cmd.Flags().Changed("nodes") {
				o.Nodes = nginxNodes
			}
			if o.Nodes < 0 {
				return errors.New("--nodes must be 0 or more")
			}
			if o.Nginx && o.Nodes == 0 {
				return errors.New("--nginx needs nodes: leave --nodes 0 away")
			}
			s, err := stack.Up(ctx, o)
			if err != nil {
				if ctx.Err() != nil { // Ctrl-C while starting, and all is ended
					return nil
				}
				return err
			}
			if err = printStack(cmd, s); err == nil {
				err = s.Keep(ctx)
			}
			if down := s.Down(); err == nil {
				err = down
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "dir", "", "`folder` that keeps data and passwords (default: a temporary one)")
	f.IntVar(&o.Nodes, "nodes", 0, "`number` of nodes to start on the engines")
	f.BoolVar(&o.Nginx, "nginx", false, "start nginx in front of the nodes")
	f.IntVar(&o.NginxPort, "nginx-port", 0, "`port` of nginx (default: a free one)")
	f.IntVar(&o.NodePort, "node-port", 0, "`port` of the first node, the others have the next ones (default: free ones)")
	f.IntVar(&o.RedisPort, "redis-port", 0, "`port` of Redis (default: a free one)")
	f.IntVar(&o.RabbitMQPort, "rabbitmq-port", 0, "`port` of RabbitMQ (default: a free one)")
	f.IntVar(&o.ConsolePort, "management-port", 0, "`port` of RabbitMQ's console (default: a free one)")
	f.IntVar(&o.MariaDBPort, "mariadb-port", 0, "`port` of MariaDB (default: a free one)")
	return cmd
}

// printStack says where everything is, and the command of who uses it: a node on
// the engines, or a crowd at the nodes.
func printStack(cmd *cobra.Command, s *stack.Stack) error {
	console, user, _ := s.RabbitMQ.Console()
	var b strings.Builder
	fmt.Fprintf(&b, `
Redis     %s
RabbitMQ  %s
MariaDB   %s
console   %s  (user %s)
passwords %s
`, s.Redis.Addr(), s.RabbitMQ.Addr(), s.MariaDB.Addr(), console, user, s.Environment)
	var servers []string
	for _, n := range s.Nodes {
		fmt.Fprintf(&b, "%-9s %s  (operations %s)\n", n.Kind(), n.URL(), n.OpsURL())
		servers = append(servers, n.URL())
	}
	if s.Nginx != nil {
		fmt.Fprintf(&b, "nginx     %s\n", s.Nginx.URL())
		servers = []string{s.Nginx.URL()}
	}
	if len(servers) > 0 {
		fmt.Fprintf(&b, `
A crowd of buyers:

  ( set -a; . %s; exec seckill load --server %s )
`, shellQuote(s.Environment), strings.Join(servers, ","))
	} else {
		fmt.Fprintf(&b, `
A node on these engines:

  ( set -a; . %s; exec seckill serve )
`, shellQuote(s.Environment))
	}
	b.WriteString("\nCtrl-C ends all of it.\n")
	_, err := cmd.OutOrStdout().Write([]byte(b.String()))
	return err
}

// shellQuote writes a file's name as a shell reads it.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
