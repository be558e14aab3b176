package stack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	deploy "seckill/deploy/nginx"
)

// KindNginx is nginx, in front of nodes.
const KindNginx Kind = "nginx"

const nginxServer = "/usr/sbin/nginx"

// Site is what an nginx has of its own; the rest is deploy/nginx as it is.
type Site struct {
	Nodes     []string // host:port of their public listeners
	Unlimited []string // networks (CIDR) that the limits of a client do not hold for
}

// Nginx is nginx in front of nodes, not yet started. It writes to dir only.
func Nginx(dir string, site Site, opts ...Option) (*Engine, error) {
	var set settings
	for _, o := range opts {
		o(&set)
	}
	return nginx(site).engine(dir, set)
}

func nginx(site Site) *spec {
	return &spec{
		kind:   KindNginx,
		apt:    "nginx",
		files:  [][]string{{nginxServer}},
		ports:  []string{"client"},
		parent: true, // of its workers
		url:    func(e *Engine, _, _ string) string { return "http://" + e.Addr() },
		prepare: func(_ context.Context, e *Engine) error {
			if strings.ContainsAny(e.folder.path, " \t\n;{}$'\"\\#") {
				return fmt.Errorf("nginx cannot run in %s: choose a folder without blanks and signs", e.folder.path)
			}
			return e.writeSite(site)
		},
		command: func(e *Engine) *exec.Cmd {
			cmd := exec.Command(nginxServer, "-e", "stderr", "-p", e.folder.path, "-c", e.path("nginx.conf"))
			cmd.Env = environment(e.folder.path)
			return cmd
		},
		ready: func(ctx context.Context, e *Engine) error {
			// Its own answer, which takes no node.
			return answers(ctx, e.URL()+"/healthz", http.StatusNotFound)
		},
	}
}

// writeSite writes the configuration: that of deploy/nginx, with the folder seckill
// made for this one.
func (e *Engine) writeSite(site Site) error {
	for _, name := range []string{"nginx.conf", "seckill.conf"} {
		b, err := fs.ReadFile(deploy.Files, name)
		if err != nil {
			return err
		}
		if err := e.write(name, string(b)); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(e.path("seckill"), 0o700); err != nil {
		return err
	}
	run := fmt.Sprintf("worker_rlimit_nofile %d;\n", maxFiles())
	if os.Geteuid() == 0 { // else it is whoever starts it
		run += "user root;\n"
	}
	lines := func(format string, values []string) string {
		var b strings.Builder
		for _, v := range values {
			fmt.Fprintf(&b, format, v)
		}
		return b.String()
	}
	path := func(name string) string { return e.path(dataFolder, name) }
	var temp []string
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temp = append(temp, kind+"_temp_path "+path(kind)+";\n")
	}
	var errs []error
	for name, content := range map[string]string{
		"main.conf": run + "daemon off;\npid " + path("nginx.pid") + ";\nerror_log stderr warn;\n",
		"site.conf": strings.Join(temp, "") +
			"proxy_cache_path " + path("cache") + " keys_zone=seckill_pages:1m max_size=64m inactive=10m use_temp_path=off;\n" +
			"access_log " + e.AccessLog() + " seckill buffer=64k flush=1s;\n" +
			"geo $seckill_unlimited {\n    default 0;\n" + lines("    %s 1;\n", site.Unlimited) + "}\n",
		"nodes.conf":  lines("server %s max_fails=1 fail_timeout=1s;\n", site.Nodes) + lines("server %s backup max_fails=0;\n", site.Nodes),
		"listen.conf": "listen " + e.Addr() + " default_server backlog=8192 reuseport;\nserver_name _;\n",
	} {
		errs = append(errs, e.write(filepath.Join("seckill", name), "# Written at every start.\n"+content))
	}
	return errors.Join(errs...)
}

// AccessLog is where nginx writes a line for each request, about a second late.
func (e *Engine) AccessLog() string { return e.path(dataFolder, "access.log") }

// answers asks once whether a server answers with that status.
func answers(ctx context.Context, url string, status int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	res.Body.Close()
	if res.StatusCode != status {
		return fmt.Errorf("GET %s: %s", url, res.Status)
	}
	return nil
}
