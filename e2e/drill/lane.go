package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/rueidis"

	"seckill/e2e/node"
	"seckill/internal/duty"
	"seckill/internal/stack"
)

const (
	nodes      = 2
	buckets    = 16 // streams of tickets without an outcome in Redis
	checkTime  = 10 * time.Second
	checkPause = 50 * time.Millisecond
	stallTime  = 300 * time.Millisecond // of a write to Redis that nobody has touched
	stallEcho  = time.Second            // for the nodes to be over it
	stallPause = 20 * time.Millisecond
)

// lane is a set of engines and two nodes on them, over wires of their own. It has
// one round at a time.
type lane struct {
	stack   *stack.Stack
	wires   [nodes]map[stack.Kind]*wire
	configs [nodes]node.Config
	nodes   [nodes]*node.Node
	logs    [nodes]*logbook
}

// logbook is what a node said in this round, also before it was killed.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logbook) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Reset()
}

// openLane starts the engines, then the nodes, which keep nothing in dir. What they say goes to
// log too.
func openLane(ctx context.Context, binary, dir string, log io.Writer) (l *lane, err error) {
	l = &lane{}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	if l.stack, err = stack.Up(ctx, stack.Options{}); err != nil {
		return l, err
	}
	for i := range nodes {
		l.wires[i] = map[stack.Kind]*wire{}
		for _, e := range l.stack.Engines() {
			if l.wires[i][e.Kind()], err = newWire(e); err != nil {
				return l, err
			}
		}
		address, err := stack.Address()
		if err != nil {
			return l, err
		}
		data := filepath.Join(dir, fmt.Sprintf("node-%d", i))
		if err := os.MkdirAll(data, 0o700); err != nil {
			return l, err
		}
		l.logs[i] = &logbook{}
		l.configs[i] = node.Config{Binary: binary, Dir: data, Listen: address, Log: io.MultiWriter(l.logs[i], log), Env: []string{
			"SECKILL_GATE=" + l.wires[i][stack.KindRedis].url(),
			"SECKILL_QUEUE=" + l.wires[i][stack.KindRabbitMQ].url(),
			"SECKILL_STORE=" + l.wires[i][stack.KindMariaDB].url(),
		}}
		if err := l.startNode(i); err != nil {
			return l, err
		}
	}
	return l, nil
}

func (l *lane) startNode(i int) (err error) {
	if l.nodes[i], err = node.Start(l.configs[i]); err != nil {
		return err
	}
	return l.nodes[i].Ready()
}

func (l *lane) engine(kind stack.Kind) *stack.Engine { return l.wires[0][kind].engine }

// relaid is how many wires had to be laid anew since it was asked last.
func (l *lane) relaid() (n int) {
	for _, wires := range l.wires {
		for _, w := range wires {
			n += w.relaid
			w.relaid = 0
		}
	}
	return n
}

// url of a node; it stays the same.
func (l *lane) url(i int) string { return "http://" + l.configs[i].Listen }

// urls are those of all nodes, for a crowd.
func (l *lane) urls() string { return l.url(0) + "," + l.url(1) }

// stop asks the nodes to stop, which they must do cleanly, and closes the lane.
func (l *lane) stop() error {
	var err error
	for i, n := range l.nodes {
		err = errors.Join(err, n.Stop())
		for line := range strings.Lines(l.logs[i].String()) {
			if strings.Contains(line, `"level":"ERROR"`) {
				err = errors.Join(err, fmt.Errorf("a stopping node complains: %s", line))
			}
		}
	}
	return errors.Join(err, l.close())
}

func (l *lane) close() error {
	for i, n := range l.nodes {
		if n != nil {
			n.Kill()
		}
		for _, w := range l.wires[i] {
			if w != nil && w.Proxy != nil {
				go w.Stop() // it may never return; see within
			}
		}
	}
	if l.stack != nil {
		return l.stack.Down()
	}
	return nil
}

// settled waits so long at most until both nodes say that they are ready and nothing is left on the
// way: no ticket in the outbox, none in a queue. It returns what does not add up. In a
// round of forgeries the nodes complain of each, and their logs begin anew.
func (l *lane) settled(ctx context.Context, limit time.Duration, forged bool) (findings []string) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		findings = l.unsettled(ctx)
		if len(findings) == 0 || duty.Rest(ctx, checkPause) != nil {
			break
		}
	}
	for i, log := range l.logs {
		for line := range strings.Lines(log.String()) {
			complains := strings.Contains(line, `"level":"ERROR"`) || !strings.HasPrefix(line, "{")
			if complains && !(forged && strings.Contains(line, "is put aside")) {
				findings = append(findings, fmt.Sprintf("node %d complains: %s", i, strings.TrimSpace(line)))
			}
		}
		if forged && len(findings) == 0 {
			log.reset()
		}
	}
	return findings
}

func (l *lane) unsettled(ctx context.Context) (findings []string) {
	for i, n := range l.nodes {
		req, err := http.NewRequestWithContext(ctx, "GET", n.Ops+"/readyz", nil)
		if err != nil {
			return []string{err.Error()}
		}
		req.Close = true
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			findings = append(findings, fmt.Sprintf("node %d: %v", i, err))
			continue
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != http.StatusOK || !strings.Contains(string(body), `"gate":"ok"`) {
			findings = append(findings, fmt.Sprintf("node %d is not ready: %s", i, body))
		}
	}
	if err := l.outboxEmpty(ctx); err != nil {
		findings = append(findings, err.Error())
	}
	if err := l.queuesEmpty(); err != nil {
		findings = append(findings, err.Error())
	}
	return findings
}

// redis is a connection past the wires.
func (l *lane) redis() (rueidis.Client, error) {
	o, err := rueidis.ParseURL(l.engine(stack.KindRedis).AdminURL())
	if err != nil {
		return nil, err
	}
	o.DisableCache, o.ForceSingleClient = true, true
	return rueidis.NewClient(o)
}

// span is a time in which something lasted.
type span struct{ from, to time.Time }

// stalls writes to Redis until ctx is done and returns when it took long to answer
// although nobody had touched it: the disk or the processors of this machine had
// something else to do, and a node takes that for the loss of Redis.
func (l *lane) stalls(ctx context.Context) (found []span) {
	c, err := l.redis()
	if err != nil {
		return nil
	}
	defer c.Close()
	for ctx.Err() == nil {
		from := time.Now()
		c.Do(context.WithoutCancel(ctx), c.B().Set().Key("drill").Value("x").Build())
		if to := time.Now(); to.Sub(from) > stallTime {
			found = append(found, span{from, to.Add(stallEcho)})
		}
		duty.Rest(ctx, stallPause)
	}
	return found
}

func (l *lane) outboxEmpty(ctx context.Context) error {
	c, err := l.redis()
	if err != nil {
		return err
	}
	defer c.Close()
	for b := range buckets {
		n, err := c.Do(ctx, c.B().Xlen().Key(fmt.Sprintf("seckill:{%d}:outbox", b)).Build()).AsInt64()
		if err != nil {
			return err
		}
		if n > 0 {
			return fmt.Errorf("the outbox %d in Redis has %d entries at rest", b, n)
		}
	}
	return nil
}

func (l *lane) queuesEmpty() error {
	c, err := amqp.Dial(l.engine(stack.KindRabbitMQ).AdminURL())
	if err != nil {
		return err
	}
	defer c.Close()
	ch, err := c.Channel()
	if err != nil {
		return err
	}
	for _, name := range []string{"seckill.tickets", "seckill.tickets.dead", "seckill.tickets.parked"} {
		q, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
		if err != nil {
			return err
		}
		if q.Messages > 0 {
			return fmt.Errorf("the queue %s has %d tickets at rest", name, q.Messages)
		}
	}
	return nil
}

// keep writes what is known about a round with violations into a folder.
func (l *lane) keep(dir string, findings []string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	err := os.WriteFile(filepath.Join(dir, "violations.txt"), []byte(strings.Join(findings, "\n")+"\n"), 0o600)
	for i, log := range l.logs {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, fmt.Sprintf("node-%d.log", i)), []byte(log.String()), 0o600))
	}
	for _, e := range l.stack.Engines() {
		text, rerr := os.ReadFile(e.LogFile())
		err = errors.Join(err, rerr, os.WriteFile(filepath.Join(dir, string(e.Kind())+".log"), text, 0o600))
	}
	return err
}
