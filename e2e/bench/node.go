package main

import (
	"bufio"
	"context"
	"database/sql"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the node's store

	"seckill"
	nodes "seckill/e2e/node"
	"seckill/internal/account"
	"seckill/internal/client"
)

// node is a server that is measured.
type node struct {
	cmd             *exec.Cmd
	url, ops, admin string
	dir             string
}

func (b *bench) start(ctx context.Context, args ...string) (*node, error) {
	dir, err := os.MkdirTemp(b.dir, "node")
	if err != nil {
		return nil, err
	}
	n := &node{dir: dir}
	n.cmd = exec.CommandContext(ctx, b.binary, append([]string{"serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--data-dir", dir}, args...)...)
	n.cmd.Env = append(append(os.Environ(), "SECKILL_AUTH_SECRET="+secret, "SECKILL_PAYMENT_PROVIDER=test", "SECKILL_LIMITS_OUTBOX=5000000"), b.env...)
	log, err := n.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := n.cmd.Start(); err != nil {
		return nil, err
	}
	if n.admin, err = account.Mint([]byte(secret), "bench", seckill.RoleAdmin, time.Hour); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(log)
	var said []string
	for lines.Scan() {
		said = append(said, lines.Text())
		var l struct{ Msg, URL, Ops string }
		if json.Unmarshal(lines.Bytes(), &l) == nil && l.Msg == "ready" {
			n.url, n.ops = l.URL, l.Ops
			go io.Copy(io.Discard, log)
			return n, nil
		}
	}
	n.stop()
	return nil, errors.Join(fmt.Errorf("the node did not start: %s", strings.Join(said, "\n")), lines.Err())
}

func (n *node) stop() {
	n.cmd.Process.Kill()
	n.cmd.Wait()
	os.RemoveAll(n.dir)
}

// holdStore keeps the node from writing to its store until release is called, as
// if the database were busy elsewhere.
func (n *node) holdStore(ctx context.Context) (release func() error, err error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(n.dir, "seckill.db")+"?_txlock=immediate&_pragma=busy_timeout(5000)")
	if err != nil {
		return nil, err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return func() error { return errors.Join(tx.Rollback(), db.Close()) }, nil
}

// all sends one request for each of the first n tokens.
func (n *node) all(ctx context.Context, method, target, tokens string, count int) error {
	b, err := os.ReadFile(tokens)
	if err != nil {
		return err
	}
	way := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: atOnce}}
	defer way.CloseIdleConnections()
	work, errs := make(chan string), make(chan error, atOnce)
	for range atOnce {
		go func() {
			var failed error
			for token := range work {
				if _, err := (&client.Client{Server: n.url, Token: token, HTTP: way}).Do(ctx, method, target, nil); err != nil {
					failed = err
				}
			}
			errs <- failed
		}()
	}
	for i, token := range strings.Fields(string(b)) {
		if i == count {
			break
		}
		work <- token
	}
	close(work)
	for range atOnce {
		err = errors.Join(err, <-errs)
	}
	return err
}

// counts reads the placed outcomes and the tickets without one.
func (n *node) counts(ctx context.Context) (placed, pending float64, err error) {
	const outcomes, tickets = `seckill_outcomes_total{outcome="placed"}`, "seckill_pending_tickets"
	found, err := nodes.ReadMetrics(ctx, n.ops, outcomes, tickets)
	return found[outcomes], found[tickets], err
}

// profile writes a CPU profile of so many seconds to a file, if there is one.
func (n *node) profile(ctx context.Context, file string, seconds int) error {
	if file == "" {
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", n.ops, max(1, seconds)), nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, res.Body)
	return errors.Join(err, f.Close())
}

// settled waits until every ticket has its outcome.
func (n *node) settled(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, pending, err := n.counts(ctx); err != nil || pending == 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// audit fails unless everything holds.
func (n *node) audit(ctx context.Context, target string) error {
	_, err := n.report(ctx, target)
	return err
}

// report is the audit of the sale that a path of tickets is about.
func (n *node) report(ctx context.Context, target string) (seckill.Report, error) {
	sale := strings.Split(target, "/")[3]
	r, err := (&client.Client{Server: n.url, Token: n.admin}).Audit(ctx, sale)
	if err == nil && !r.OK {
		err = fmt.Errorf("the audit does not hold: %+v", r)
	}
	return r, err
}

// metric reads one number of the node; 0 if it has none of that name, or does not answer.
func (n *node) metric(ctx context.Context, name string) float64 {
	found, _ := nodes.ReadMetrics(ctx, n.ops, name)
	return found[name]
}
