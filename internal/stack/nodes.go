package stack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
)

// nodeOpsPort is of Engine.ports: a node's operations listener.
const nodeOpsPort = 1

// node is "seckill serve" on the engines of a stack.
func (s *Stack) node(number int, binary string) *spec {
	kind := Kind(fmt.Sprintf("node %d", number))
	return &spec{
		kind:    kind,
		files:   [][]string{{binary}},
		ports:   []string{"client", "operations"},
		url:     func(e *Engine, _, _ string) string { return "http://" + e.Addr() },
		prepare: func(context.Context, *Engine) error { return nil },
		command: func(e *Engine) *exec.Cmd {
			cmd := exec.Command(binary, "serve", "--listen", e.Addr(), "--ops-listen", e.addr(nodeOpsPort), "--data-dir", e.path(dataFolder))
			// The engines are for trying out. What the caller's environment says counts.
			cmd.Env = append(environment(e.folder.path), "SECKILL_PAYMENT_PROVIDER=test")
			for _, v := range os.Environ() { // settings of a node, but for those below
				if strings.HasPrefix(v, "SECKILL_") {
					cmd.Env = append(cmd.Env, v)
				}
			}
			cmd.Env = append(cmd.Env,
				"SECKILL_GATE="+s.Redis.URL(), "SECKILL_QUEUE="+s.RabbitMQ.URL(), "SECKILL_STORE="+s.MariaDB.URL(),
				"SECKILL_AUTH_SECRET="+s.AuthSecret, "SECKILL_AUTH_SECRET_FILE=")
			if s.front { // who connects to a node is nginx
				cmd.Env = append(cmd.Env, "SECKILL_HTTP_TRUSTED_PROXIES="+loopback+"/32")
			}
			return cmd
		},
		ready: func(ctx context.Context, e *Engine) error { return answers(ctx, e.OpsURL()+"/readyz", http.StatusOK) },
	}
}

// OpsURL is a node's operations listener.
func (e *Engine) OpsURL() string { return "http://" + e.addr(nodeOpsPort) }

// upNodes starts the nodes on the engines that run, and nginx in front of them.
func (s *Stack) upNodes(ctx context.Context, o Options, dir string) error {
	binary := o.Binary
	if binary == "" {
		var err error
		if binary, err = os.Executable(); err != nil {
			return err
		}
	}
	for i := range o.Nodes {
		var set settings
		if o.NodePort != 0 {
			set.ports[mainPort] = o.NodePort + i
		}
		e, err := s.node(i+1, binary).engine(filepath.Join(dir, fmt.Sprintf("node-%d", i+1)), set)
		if err != nil {
			return err
		}
		s.Nodes = append(s.Nodes, e)
	}
	if err := s.start(ctx, s.Nodes...); err != nil || !o.Nginx {
		return err
	}
	// The load comes from this machine too: no limits for it.
	site := Site{Unlimited: []string{loopback + "/32"}}
	for _, n := range s.Nodes {
		site.Nodes = append(site.Nodes, n.Addr())
	}
	var err error
	if s.Nginx, err = Nginx(filepath.Join(dir, string(KindNginx)), site, Port(o.NginxPort)); err != nil {
		return err
	}
	return s.start(ctx, s.Nginx)
}

// Keep returns nil when ctx is done, or why a process of the stack has ended by
// itself. A node that ends is started again, as a service manager would do it.
func (s *Stack) Keep(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, e := range s.Engines() {
		g.Go(func() error { return e.lasts(ctx) })
	}
	if s.Nginx != nil {
		g.Go(func() error { return s.Nginx.lasts(ctx) })
	}
	for _, n := range s.Nodes {
		g.Go(func() error {
			for {
				if err := n.lasts(ctx); err == nil {
					return nil
				}
				s.progress("%-9s ended by itself", n.Kind())
				if err := s.start(ctx, n); err != nil {
					return err
				}
			}
		})
	}
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// lasts returns nil when ctx is done, or an error when the server has ended.
func (e *Engine) lasts(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-e.Done():
		return fmt.Errorf("%s ended by itself; %s ends with:\n%s", e.Kind(), e.LogFile(), e.LogTail())
	}
}
