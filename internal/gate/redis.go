package gate

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/rueidis"

	"seckill"
)

// Limits of the gate on Redis.
const (
	redisCall    = 800 * time.Millisecond // for one call: a lost Redis is noticed within a second
	redisLook    = 100 * time.Millisecond // between looks whether a lost Redis is back
	redisBuckets = 16                     // hash tags, and outbox streams
	redisHolds   = 500                    // holds written in one command of a rebuild
	asideLife    = 10 * time.Minute       // of what a rebuild writes aside, since it last did
	redisPage    = 1000                   // outbox entries read in one command
	redisTold    = 1024                   // outcomes told in one call: Lua hands no more than some thousand values on at once
	redisUntold  = 10_000                 // outcomes kept for each bucket while a part of a cluster is gone
)

//go:embed lua/reserve.lua
var reserveLua string

//go:embed lua/finish.lua
var finishLua string

//go:embed lua/release.lua
var releaseLua string

//go:embed lua/move.lua
var moveLua string

//go:embed lua/apply.lua
var applyLua string

//go:embed lua/cut.lua
var cutLua string

//go:embed lua/open.lua
var openLua string

var scripts = struct{ reserve, finish, release, move, apply, cut, open *rueidis.Lua }{
	rueidis.NewLuaScript(reserveLua), rueidis.NewLuaScript(finishLua), rueidis.NewLuaScript(releaseLua), rueidis.NewLuaScript(moveLua),
	rueidis.NewLuaScript(applyLua), rueidis.NewLuaScript(cutLua), rueidis.NewLuaScript(openLua),
}

// Redis is the gate that several nodes share. Every decision is one Lua script;
// the keys of a sale share one of 16 hash tags, so that it works on a cluster.
// A missing key means closed: the state is rebuilt, never guessed.
//
// A breaker stands before it: once a call has found Redis gone, every further
// one fails at once until it answers again. On a cluster each bucket has its own:
// a master that is gone closes its sales and no others.
type Redis struct {
	*flags
	waiters  waiters
	options  rueidis.ClientOption
	where    string // for messages, without secrets
	prefix   string // of every key
	limit    int    // tickets without an outcome, in each bucket: one hot sale may fill its own
	node     string // this node's name among the readers of the outbox
	log      *slog.Logger
	skewed   atomic.Bool      // a clock or the layout of a cluster is not as this node believes
	patience time.Duration    // for one call
	clock    func() time.Time // instead of Redis' clock, in tests; else nil

	client   atomic.Pointer[rueidis.Client]
	cluster  atomic.Bool
	breakers [redisBuckets]breaker // of the buckets on a cluster, else the first is that of all
	foreign  atomic.Pointer[error] // why nothing may be done: it is another store's
	claimed  atomic.Int64          // when dead nodes' entries were last asked for, in nanoseconds since 1970
	tied     atomic.Bool           // to the store that was named, as far as this node has seen
	lost     chan struct{}
	added    chan struct{} // this node has written to the outbox

	lines lines
	pacer *pacer

	mu    sync.Mutex
	shut  map[seckill.SaleID]string // tokens of the sales that this node shut
	views map[seckill.SaleID]*view
	sent  map[string]entry // tickets taken from the outbox and not confirmed by the queue
	// An answer with entries of the outbox may have been lost: from where on to read
	// again what this node was given. Empty: nothing was lost.
	unheard [redisBuckets]string
	tries   map[string]resend
}

// OpenRedis returns the gate at url (redis://user:password@host:port/db). It does
// not need Redis to be there yet: Run connects. limit is the most tickets without
// an outcome, 0 for OutboxLimit.
func OpenRedis(url string, limit int, log *slog.Logger) (*Redis, error) {
	options, err := rueidis.ParseURL(url)
	if err != nil {
		return nil, errors.New("gate: the address is not of the form redis://user:password@host:port/db (check --gate)")
	}
	if limit <= 0 {
		limit = OutboxLimit
	}
	options.DisableCache = true
	options.DisableRetry = true // an unknown outcome is repeated by who knows the ticket
	options.ConnWriteTimeout = redisCall
	options.Dialer.Timeout = redisCall
	options.ClientName = "seckill"
	notYet := fmt.Errorf("gate: not connected to Redis at %s yet (check --gate): %w", strings.Join(options.InitAddress, ","), seckill.ErrUnavailable)
	g := &Redis{
		flags: newFlags(), options: options, where: strings.Join(options.InitAddress, ","), prefix: "seckill:", patience: redisCall, limit: limit, node: rand.Text(), log: log,
		lost: make(chan struct{}, 1), added: make(chan struct{}, 1), lines: lines{by: map[seckill.SaleID]*line{}}, pacer: newPacer(),
		shut: map[seckill.SaleID]string{}, views: map[seckill.SaleID]*view{}, sent: map[string]entry{}, tries: map[string]resend{},
	}
	for i := range g.breakers {
		g.breakers[i].down.Store(&notYet)
	}
	return g, nil
}

// breaker is open while down is set.
type breaker struct {
	down   atomic.Pointer[error]             // why calls fail at once
	heard  atomic.Int64                      // when there last was an answer, in nanoseconds since 1970
	untold atomic.Pointer[[]seckill.Outcome] // what it is to be told when it is back
	offset atomic.Int64                      // nanoseconds that the clock there is ahead of this node's
}

func (g *Redis) breaker(bucket int) *breaker {
	if !g.cluster.Load() {
		bucket = 0
	}
	return &g.breakers[bucket]
}

// apart reports whether a bucket is on a part of a cluster that is gone, while
// others answer. Whatever was to be done there is done when it is back.
func (g *Redis) apart(bucket int) bool {
	return g.breaker(bucket).down.Load() != nil && len(g.broken()) < redisBuckets
}

// broken are the buckets whose breakers are open.
func (g *Redis) broken() (buckets []int) {
	for b := range redisBuckets {
		if g.breaker(b).down.Load() != nil {
			buckets = append(buckets, b)
		}
	}
	return buckets
}

// Run keeps the connection until ctx is done: it connects, notices when Redis is
// back, compares the clocks, and hears which tickets are final.
func (g *Redis) Run(ctx context.Context) error {
	look := time.NewTicker(redisLook)
	defer look.Stop()
	var compared time.Time
	for {
		if g.skewed.Swap(false) || time.Since(compared) > 10*time.Second || len(g.broken()) > 0 {
			if err := g.look(ctx); err == nil {
				compared = time.Now()
			}
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			g.handBack(context.WithoutCancel(ctx))
			if c := g.client.Swap(nil); c != nil {
				(*c).Close()
			}
			return nil
		}
	}
}

// look asks Redis, of a cluster the master of each bucket, for its time, which
// closes the breaker.
func (g *Redis) look(ctx context.Context) error {
	client := g.client.Load()
	if client == nil {
		c, err := rueidis.NewClient(g.options)
		if err != nil {
			return err
		}
		client = &c
		g.cluster.Store(c.Mode() == rueidis.ClientModeCluster)
		g.client.Store(client)
		go g.listen(ctx, c)
	}
	parts := 1
	if g.cluster.Load() {
		parts = redisBuckets
	}
	ctx, cancel := context.WithTimeout(ctx, g.patience)
	defer cancel()
	errs := make([]error, parts)
	var asking sync.WaitGroup
	for b := range parts { // one by one: the client fails many together when nobody serves one of them
		asking.Go(func() { errs[b] = g.probe(ctx, *client, b) })
	}
	asking.Wait()
	return errors.Join(errs...)
}

func (g *Redis) probe(ctx context.Context, client rueidis.Client, b int) error {
	// Whether the breaker may close is a question of writing.
	ask := client.B().EvalRo().Script("return redis.call('TIME')").Numkeys(1).Key(g.tag(b) + "probe").Build()
	if g.breaker(b).down.Load() != nil {
		ask = client.B().Eval().Script("redis.call('SET', KEYS[1], 1, 'PX', 60000) return redis.call('TIME')").Numkeys(1).Key(g.tag(b) + "probe").Build()
	}
	asked := time.Now()
	t, err := client.Do(ctx, ask).AsIntSlice()
	if err == nil && len(t) != 2 {
		err = fmt.Errorf("gate: Redis said %v when asked for the time", t)
	}
	if err != nil {
		return g.fail(b, err)
	}
	answered, there := time.Now(), time.Unix(t[0], t[1]*1000)
	// What a slow answer cannot rule out stays as a fast one had found it.
	offset := &g.breaker(b).offset
	offset.Store(min(max(offset.Load(), int64(there.Sub(answered))), int64(there.Sub(asked))))
	g.answers(b)
	if late := g.breaker(b).untold.Swap(nil); late != nil {
		if err := g.Finish(context.WithoutCancel(ctx), *late); err != nil {
			g.log.Warn("gate: outcomes are settled again, since they could not be told", "bucket", b, "tickets", len(*late), "error", err)
		}
	}
	return nil
}

// tell keeps outcomes for a part that is gone. What does not fit, and what is kept
// when this node ends, the sweeper brings again.
func (g *Redis) tell(b int, outcomes []seckill.Outcome) {
	kept := &g.breaker(b).untold
	for {
		old := kept.Load()
		more := outcomes
		if old != nil {
			more = append(slices.Clip(*old), outcomes...)
		}
		if more = more[:min(len(more), redisUntold)]; kept.CompareAndSwap(old, &more) {
			return
		}
	}
}

// answers closes the breaker of a bucket.
func (g *Redis) answers(bucket int) {
	if g.breaker(bucket).down.Swap(nil) != nil {
		g.log.Info("gate: Redis answers", "address", g.where, "bucket", bucket)
		signal(g.lost) // it may have come back without its data
	}
}

// fail opens the breaker of a bucket if err says that Redis is gone, and wraps it.
func (g *Redis) fail(bucket int, err error) error {
	if err == nil {
		return nil
	}
	if e, answered := rueidis.IsRedisErr(err); answered && !refuses(e) {
		return fmt.Errorf("gate: Redis at %s: %w: %w", g.where, seckill.ErrUnavailable, err)
	}
	late := errors.Is(err, context.DeadlineExceeded)
	err = fmt.Errorf("gate: Redis at %s does not answer (check --gate): %w: %w", g.where, seckill.ErrUnavailable, err)
	breaker := g.breaker(bucket)
	// Calls of a crowd are sent together: the first to be late must not find that
	// others were answered while it was sent.
	if late && time.Since(time.Unix(0, breaker.heard.Load())) < g.patience/2 {
		return err // slow, not gone: others are answered
	}
	if errors.Is(err, context.Canceled) {
		return err // the caller went away: that says nothing about Redis
	}
	if breaker.down.CompareAndSwap(nil, &err) {
		g.log.Warn("gate: every answer is 503 until Redis is back", "bucket", bucket, "error", err)
	}
	return err
}

// refuses tells whether Redis answers that it takes no writes, whatever is asked: a
// full disk or memory, a node that is not or no longer a master.
func refuses(e *rueidis.RedisError) bool {
	return slices.ContainsFunc([]string{"MISCONF ", "OOM ", "READONLY ", "LOADING ", "MASTERDOWN ", "CLUSTERDOWN ", "NOREPLICAS "}, func(kind string) bool {
		return strings.HasPrefix(e.Error(), kind)
	})
}

// failed is fail for one of many calls that were made together: where one of them
// has no master to go to, all of them fail.
func (g *Redis) failed(bucket int, err error) error {
	if errors.Is(err, rueidis.ErrNoSlot) {
		g.skewed.Store(true) // each of them is asked
		return fmt.Errorf("gate: a part of the cluster at %s is served by nobody: %w: %w", g.where, seckill.ErrUnavailable, err)
	}
	return g.fail(bucket, err)
}

// up returns the client, or why there is none for a bucket.
func (g *Redis) up(bucket int) (rueidis.Client, error) {
	if foreign := g.foreign.Load(); foreign != nil {
		return nil, *foreign
	}
	if down := g.breaker(bucket).down.Load(); down != nil {
		return nil, *down
	}
	if c := g.client.Load(); c != nil {
		return *c, nil
	}
	return nil, fmt.Errorf("gate: stopped: %w", seckill.ErrUnavailable)
}

// call runs a script on a sale. A closed sale is an error, and is looked after.
func (g *Redis) call(ctx context.Context, id seckill.SaleID, script *rueidis.Lua, keys, args []string) ([]rueidis.RedisMessage, error) {
	b := bucket(id)
	client, err := g.up(b)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, g.patience)
	defer cancel()
	answer, err := script.Exec(ctx, client, keys, args).ToArray()
	if err != nil {
		if context.Cause(ctx) == context.Canceled {
			return nil, err // the caller went away: that says nothing about Redis
		}
		return nil, g.fail(b, err)
	}
	g.breaker(b).heard.Store(time.Now().UnixNano())
	switch first, _ := answer[0].ToString(); first {
	case "closed":
		signal(g.lost)
		return nil, closed(id)
	case "stale":
		signal(g.lost) // or the gate missed a rebuild
		return nil, stale(id)
	}
	return answer, nil
}

func bucket(id seckill.SaleID) int { return int(id % redisBuckets) }

// tag begins the keys of a bucket; what stands in braces decides where a cluster
// keeps them.
func (g *Redis) tag(bucket int) string { return g.prefix + "{" + strconv.Itoa(bucket) + "}:" }

func (g *Redis) key(what string, id seckill.SaleID) string {
	return g.tag(bucket(id)) + what + ":" + id.String()
}

func (g *Redis) outbox(bucket int) string { return g.tag(bucket) + "outbox" }

// Lost receives when sales may be closed, so that somebody looks.
func (g *Redis) Lost() <-chan struct{} { return g.lost }

// Ping reports whether Redis answers, or any part of a cluster.
func (g *Redis) Ping(context.Context) (err error) {
	for b := range redisBuckets {
		if _, err = g.up(b); err == nil {
			return nil
		}
	}
	return err
}

// Now is Redis' clock, as last compared with this node's; of a cluster that of one
// master.
func (g *Redis) Now() time.Time { return g.now(0) }

// now is the clock that decides for a bucket.
func (g *Redis) now(bucket int) time.Time {
	if g.clock != nil {
		return g.clock()
	}
	return time.Now().Add(time.Duration(g.breaker(bucket).offset.Load()))
}

// parseHold reads a hold: its state, then ticket, quantity, admission number and
// outbox entry.
func parseHold(s string) (state byte, t seckill.Ticket, err error) {
	if len(s) < 28 {
		return 0, t, fmt.Errorf("gate: %q is not a hold", s)
	}
	parts := strings.Split(s[1:], ",")
	if len(parts) < 3 {
		return 0, t, fmt.Errorf("gate: %q is not a hold", s)
	}
	t.ID = parts[0]
	t.Quantity, err = strconv.Atoi(parts[1])
	if err == nil {
		t.Seq, err = strconv.ParseInt(parts[2], 10, 64)
	}
	return s[0], t, err
}

// Find returns where the buyer's newest ticket in the sale stands, or the one of
// the given id. seckill.ErrNotFound says that the gate does not know it: the
// store may, unless it is seckill.ErrNoTicket. A placed ticket is remembered on this node.
func (g *Redis) Find(ctx context.Context, id seckill.SaleID, buyer, ticket string) (p seckill.Progress, err error) {
	client, err := g.up(bucket(id))
	if err != nil {
		return p, err
	}
	if view := g.known(id); view != nil {
		if p, ok := view.final(buyer); ok && (ticket == "" || p.Ticket.ID == ticket) {
			view.refresh(g)
			return p, nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, g.patience)
	defer cancel()
	answers := client.DoMulti(ctx,
		client.B().Hmget().Key(g.key("sale", id)).Field("open", "finished", "freed").Build(),
		client.B().Hget().Key(g.key("holds", id)).Field(buyer).Build(),
		// After the holds: they may have been replaced by those of a rebuild.
		client.B().Hget().Key(g.key("sale", id)).Field("epoch").Build())
	sale, err := answers[0].AsStrSlice()
	if err != nil {
		return p, g.fail(bucket(id), err)
	}
	if sale[0] != "1" {
		signal(g.lost)
		return p, closed(id)
	}
	held, err := answers[1].ToString()
	if rueidis.IsRedisNil(err) {
		epoch, _ := answers[2].AsInt64() // 0 when it cannot be told: the store is asked
		return p, nobody(epoch)
	}
	if err != nil {
		return p, g.fail(bucket(id), err)
	}
	state, t, err := parseHold(held)
	if err != nil {
		return p, err
	}
	if state == 'x' || ticket != "" && t.ID != ticket {
		return p, seckill.ErrNotFound
	}
	t.Sale, t.Buyer = id, buyer
	finished, _ := strconv.ParseInt(sale[1], 10, 64)
	p.Ticket, p.Final, p.Position = t, state != 'p', max(1, t.Seq-finished)
	if p.Final {
		g.view(id).remember(buyer, p, sale[2])
	}
	return p, nil
}

// Wait returns when the ticket's outcome may be known, or ctx is done. Nodes hear
// of outcomes from one another; what they miss they find by looking.
func (g *Redis) Wait(ctx context.Context, id seckill.SaleID, buyer, ticket string) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	g.waiters.wait(ctx, ticket, func() bool {
		p, err := g.Find(ctx, id, buyer, ticket)
		return err != nil || p.Final
	})
}

// listen wakes those who wait for tickets that became final on any node.
func (g *Redis) listen(ctx context.Context, client rueidis.Client) {
	for b := range redisBuckets {
		go func() {
			for ctx.Err() == nil {
				err := client.Receive(ctx, client.B().Ssubscribe().Channel(g.tag(b)+"final").Build(), func(m rueidis.PubSubMessage) {
					g.waiters.hear(strings.Split(m.Message, ","))
				})
				if errors.Is(err, rueidis.ErrClosing) {
					return
				}
				sleep(ctx, time.Second)
			}
		}()
	}
}

// Finish tells the gate what became of tickets, any number of times. A refusal
// frees its buyer and returns its units once, unless the store had none. While
// the sale is closed it fails: the rebuild decides first. What a lost part of a
// cluster was to be told it is told when it is back, by the sweeper at the latest:
// the others' outcomes do not wait for it.
func (g *Redis) Finish(ctx context.Context, outcomes []seckill.Outcome) (failed error) {
	bySale, known := map[seckill.SaleID][]seckill.Outcome{}, map[seckill.SaleID]bool{}
	for _, o := range outcomes {
		id := o.Ticket.Sale
		known[id] = known[id] || o.Reason != seckill.ReasonNoSale
		bySale[id] = append(bySale[id], o)
	}
	for id, all := range bySale {
		for some := range slices.Chunk(all, redisTold) {
			err := g.finish(ctx, id, some)
			if !known[id] && errors.Is(err, seckill.ErrClosed) {
				continue // neither store nor gate knows the sale: there is nobody to tell
			}
			if err != nil && g.apart(bucket(id)) {
				g.tell(bucket(id), some)
			} else if err != nil {
				failed = err
			}
		}
	}
	g.waiters.wake(outcomes)
	return failed
}

func (g *Redis) finish(ctx context.Context, id seckill.SaleID, outcomes []seckill.Outcome) error {
	args := make([]string, 1, 1+3*len(outcomes))
	args[0] = g.tag(bucket(id)) + "final"
	for _, o := range outcomes {
		what := "o"
		switch {
		case o.Returns():
			what = "x"
		case !o.Placed():
			what = "d"
		}
		args = append(args, o.Ticket.Buyer, o.Ticket.ID, what)
	}
	answer, err := g.call(ctx, id, scripts.finish, []string{g.key("sale", id), g.key("holds", id), g.outbox(bucket(id))}, args)
	if err == nil {
		g.pacer.settle(len(outcomes))
		g.back(id, answer[1])
	}
	return err
}

// back takes the flag down when the gate has units.
func (g *Redis) back(id seckill.SaleID, left rueidis.RedisMessage) {
	if n, err := left.AsInt64(); err == nil && n > 0 {
		g.clear(id)
	}
}

// Release takes back the units of tickets whose orders have ended, and frees
// their buyers where their mark still points to that ticket. It may be repeated;
// each ticket counts once. Tickets read in another epoch are seckill.ErrStale:
// the rebuild has counted them, and another node may have brought them since.
func (g *Redis) Release(ctx context.Context, r seckill.Return) error {
	id, args := r.Sale, make([]string, 0, 1+3*len(r.Tickets))
	args = append(args, strconv.FormatInt(r.Epoch, 10))
	for _, t := range r.Tickets {
		args = append(args, t.ID, t.Buyer, strconv.Itoa(t.Quantity))
	}
	answer, err := g.call(ctx, id, scripts.release, []string{g.key("sale", id), g.key("holds", id), g.key("released", id), g.outbox(bucket(id))}, args)
	if err != nil {
		return err
	}
	g.view(id).forget()
	g.back(id, answer[1])
	return nil
}

// Move applies a stock move, once for each id and delta. It reports whether it
// was applied: a shrinking move is refused when the gate holds fewer units. One
// that was read in another epoch is seckill.ErrStale.
func (g *Redis) Move(ctx context.Context, m seckill.Move) (applied bool, err error) {
	answer, err := g.call(ctx, m.Sale, scripts.move, []string{g.key("sale", m.Sale), g.key("moves", m.Sale)},
		[]string{m.ID, strconv.FormatInt(m.Delta, 10), strconv.FormatInt(m.Epoch, 10)})
	if err != nil {
		return false, err
	}
	g.back(m.Sale, answer[1])
	decided, _ := answer[0].ToString()
	return decided == "applied", nil
}

// Apply puts a sale's version in force; a lower one than the gate has is ignored.
// To a retired sale a new version is closed: it may open it again, and then its
// buyers must be known.
func (g *Redis) Apply(ctx context.Context, sale seckill.Sale) error {
	answer, err := g.call(ctx, sale.ID, scripts.apply, []string{g.key("sale", sale.ID)}, terms(sale))
	if err != nil {
		return err
	}
	g.back(sale.ID, answer[1])
	return nil
}

// terms are the fields of a sale that the gate decides by, as scripts take them.
func terms(s seckill.Sale) []string {
	return []string{strconv.FormatInt(s.Version, 10), strconv.FormatInt(s.OpensAt.UnixMilli(), 10), strconv.FormatInt(s.ClosesAt.UnixMilli(), 10),
		bit(s.Paused), bit(s.Ended), strconv.Itoa(s.LimitPerBuyer)}
}

func bit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// Cut looks at the gate's state of a sale at one moment.
func (g *Redis) Cut(ctx context.Context, id seckill.SaleID) (c seckill.Cut, err error) {
	answer, err := g.call(ctx, id, scripts.cut, []string{g.key("sale", id), g.outbox(bucket(id))}, []string{id.String()})
	if err != nil {
		return c, err
	}
	c.Open = true
	for i, n := range []*int64{&c.Left, &c.Seq, &c.Epoch} {
		if *n, err = answer[i+1].AsInt64(); err != nil {
			return c, err
		}
	}
	entries, err := answer[4].AsXRange()
	if err != nil {
		return c, err
	}
	for _, e := range entries {
		t, err := parseEntry(e)
		if err != nil {
			return c, err
		}
		c.Outbox = append(c.Outbox, t)
	}
	return c, nil
}

// Stale returns those of the sales whose state at the gate is missing, shut, of
// another epoch than the store's, to be retired, or retired with a version that was
// changed since. With an error it is those that
// it could ask about.
func (g *Redis) Stale(ctx context.Context, sales []seckill.Sale) (ids []seckill.SaleID, err error) {
	var commands rueidis.Commands
	var asked []*seckill.Sale
	var client rueidis.Client
	for i := range sales {
		c, down := g.up(bucket(sales[i].ID))
		if down != nil {
			err = down
			continue
		}
		client, asked = c, append(asked, &sales[i])
		commands = append(commands, c.B().Hmget().Key(g.key("sale", sales[i].ID)).Field("open", "epoch", "retired", "version", "seq").Build())
	}
	if len(asked) == 0 {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*g.patience)
	defer cancel()
	var known []seckill.SaleID
	for i, answer := range client.DoMulti(ctx, commands...) {
		sale := asked[i]
		s, gone := answer.AsStrSlice()
		if gone != nil {
			err = g.failed(bucket(sale.ID), gone)
			continue
		}
		seq, _ := strconv.ParseInt(s[4], 10, 64)
		if s[0] != "1" || s[1] != strconv.FormatInt(sale.Epoch, 10) || seq < sale.Seq || sale.Retired && s[2] != "1" ||
			s[2] == "1" && s[3] != strconv.FormatInt(sale.Version, 10) {
			ids = append(ids, sale.ID)
		}
		if known = append(known, sale.ID); sale.Retired {
			g.mu.Lock()
			delete(g.views, sale.ID)
			g.mu.Unlock()
		}
	}
	g.add(known...)
	return ids, err
}

// Shut closes sales for a rebuild and returns what the outbox holds for them.
// Whoever shuts last may load.
func (g *Redis) Shut(ctx context.Context, ids []seckill.SaleID) (map[seckill.SaleID][]seckill.Ticket, error) {
	token := rand.Text()
	wanted := map[seckill.SaleID]bool{}
	buckets := map[int]bool{}
	for _, id := range ids {
		client, err := g.up(bucket(id))
		if err != nil {
			return nil, err
		}
		wanted[id], buckets[bucket(id)] = true, true
		ctx, cancel := context.WithTimeout(ctx, g.patience)
		err = client.Do(ctx, client.B().Hset().Key(g.key("sale", id)).FieldValue().FieldValue("open", "0").FieldValue("shut", token).Build()).Error()
		cancel()
		if err != nil {
			return nil, g.fail(bucket(id), err)
		}
		g.mu.Lock()
		g.shut[id] = token
		g.mu.Unlock()
	}
	outbox := map[seckill.SaleID][]seckill.Ticket{}
	for b := range buckets {
		err := g.entries(ctx, b, func(_ string, t seckill.Ticket) {
			if wanted[t.Sale] {
				outbox[t.Sale] = append(outbox[t.Sale], t)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return outbox, nil
}

// Load opens sales with the state that the snapshots say. Tickets without an
// outcome stay in the outbox, from where they are sent again.
func (g *Redis) Load(ctx context.Context, snapshots []seckill.Snapshot) error {
	for i := range snapshots {
		if err := g.load(ctx, &snapshots[i]); err != nil {
			return err
		}
	}
	return nil
}

func (g *Redis) load(ctx context.Context, v *seckill.Snapshot) error {
	id := v.Sale.ID
	client, err := g.up(bucket(id))
	if err != nil {
		return err
	}
	g.mu.Lock()
	token := g.shut[id]
	delete(g.shut, id)
	g.mu.Unlock()

	holds := make([]string, 0, 2*(len(v.Active)+len(v.Outbox)))
	for _, t := range v.Active {
		holds = append(holds, t.Buyer, fmt.Sprintf("o%s,%d,%d,-", t.ID, t.Quantity, t.Seq))
	}
	seq, final := v.Sale.Seq, []string{}
	err = g.entries(ctx, bucket(id), func(entry string, t seckill.Ticket) {
		if t.Sale != id {
			return
		}
		if _, known := v.Outcomes[t.ID]; known {
			final = append(final, entry)
			return
		}
		seq = max(seq, t.Seq)
		g.mu.Lock()
		delete(g.sent, t.ID) // whatever became of it here, it may be claimed and sent
		g.mu.Unlock()
		holds = append(holds, t.Buyer, fmt.Sprintf("p%s,%d,%d,%s", t.ID, t.Quantity, t.Seq, entry))
	})
	if err != nil {
		return err
	}
	// The new holds are written aside, and take the place of the old ones in the
	// step that opens.
	aside := g.key("holds", id) + ":" + token
	var commands rueidis.Commands
	for len(holds) > 0 {
		n := min(len(holds), 2*redisHolds)
		c := client.B().Hset().Key(aside).FieldValue()
		for i := 0; i < n; i += 2 {
			c = c.FieldValue(holds[i], holds[i+1])
		}
		// Whoever dies before the last step leaves nothing behind for ever.
		commands = append(commands, c.Build(), client.B().Pexpire().Key(aside).Milliseconds(asideLife.Milliseconds()).Build())
		holds = holds[n:]
	}
	for len(final) > 0 {
		n := min(len(final), redisPage)
		commands, final = append(commands, client.B().Xdel().Key(g.outbox(bucket(id))).Id(final[:n]...).Build()), final[n:]
	}
	for _, c := range commands {
		ctx, cancel := context.WithTimeout(ctx, g.patience)
		err := client.Do(ctx, c).Error()
		cancel()
		if err != nil {
			return g.fail(bucket(id), err)
		}
	}
	args := append([]string{token, strconv.FormatInt(v.Sale.Epoch, 10)}, terms(v.Sale)...)
	args = append(args, strconv.FormatInt(v.Left(), 10), strconv.FormatInt(seq, 10), strconv.FormatInt(v.Sale.Seq, 10), bit(v.Sale.Retired))
	// A sale with a newer epoch is left as it is.
	if _, err = g.call(ctx, id, scripts.open, []string{g.key("sale", id), g.key("holds", id), g.key("released", id), g.key("moves", id), aside}, args); err != nil {
		return err
	}
	g.add(id)
	g.clear(id)
	g.view(id).forget()
	return nil
}

// Belong ties this Redis database to a store, the first one that is named. Another
// one is an error, of this call and of every other: its sales have the same ids. Each
// part of a cluster is tied by itself, those that are gone when they are back.
func (g *Redis) Belong(ctx context.Context, store string) (err error) {
	g.foreign.Store(nil) // somebody may have mended it
	ctx, cancel := context.WithTimeout(ctx, g.patience)
	defer cancel()
	for b := range redisBuckets {
		client, gone := g.up(b)
		if gone != nil {
			err = gone
			continue
		}
		key := g.tag(b) + "store"
		answers := client.DoMulti(ctx, client.B().Setnx().Key(key).Value(store).Build(), client.B().Get().Key(key).Build())
		tied, gone := answers[1].ToString()
		if gone != nil {
			err = g.fail(b, gone)
			continue
		}
		if tied != store {
			err := fmt.Errorf("gate: Redis at %s holds the sales of another store: give each --store a --gate of its own, or empty this one: %w", g.where, seckill.ErrUnavailable)
			g.foreign.Store(&err)
			return err
		}
		g.tied.Store(true)
	}
	if g.tied.Load() {
		return nil
	}
	return err
}

// Weak says which of Redis' settings are weaker than the promise needs.
func (g *Redis) Weak(ctx context.Context) (weak []string, err error) {
	client := g.client.Load()
	if client == nil {
		_, err := g.up(0)
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, g.patience)
	defer cancel()
	for address, node := range (*client).Nodes() {
		for _, want := range [][2]string{{"appendonly", "yes"}, {"appendfsync", "always"}, {"no-appendfsync-on-rewrite", "no"}, {"maxmemory-policy", "noeviction"}} {
			have, err := node.Do(ctx, node.B().ConfigGet().Parameter(want[0]).Build()).AsStrMap()
			if err != nil {
				return nil, fmt.Errorf("gate: Redis at %s: %w: %w", address, seckill.ErrUnavailable, err)
			}
			if have[want[0]] != want[1] {
				weak = append(weak, fmt.Sprintf("Redis at %s has %s %s; the promise needs %s %s", address, want[0], have[want[0]], want[0], want[1]))
			}
		}
	}
	return weak, nil
}

// Register makes the gate's metrics.
func (g *Redis) Register(r prometheus.Registerer) {
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "seckill_gate_up", Help: "The share of Redis that answers: 1 is all of it, 0 none."}, func() float64 {
		return 1 - float64(len(g.broken()))/redisBuckets
	}))
}
