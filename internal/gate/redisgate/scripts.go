package redisgate

import (
	"context"
	"embed"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"seckill"
	"seckill/internal/gate"
)

//go:embed lua/*.lua
var luaFiles embed.FS

// scripts are the decisions. Each is called by one method below (reserve by reserveScript),
// the only one that builds its keys and arguments; their order, and what comes back,
// stands on top of the script. All but reserve run when Redis has no memory left: they
// empty the outbox, bring units back, close sales, and open them again.
var scripts = struct{ reserve, finish, release, move, apply, open, aside, disown, damaged, stop, learned, group, lease, shut, hold *rueidis.Lua }{
	lua("reserve", ""), lua("finish", always), lua("release", always), lua("move", always), lua("apply", always, "stopped"), lua("open", always, "stopped"), lua("aside", always), lua("disown", always),
	lua("damaged", always), lua("stop", always), lua("learned", always, "stopped"), rueidis.NewLuaScriptNoSha(luaText("group", always)), lua("lease", always), lua("shut", always), lua("hold", always),
}

const always = "#!lua flags=allow-oom\n"

// lua is a script with what all of them share before it, and what some of them do. The flags
// come first.
func lua(name, flags string, shared ...string) *rueidis.Lua {
	return rueidis.NewLuaScript(luaText(name, flags, shared...))
}

func luaText(name, flags string, shared ...string) string {
	text := flags + prelude()
	for _, file := range append(shared, name) {
		text += luaFile(file)
	}
	return text
}

func luaFile(name string) string {
	text, err := luaFiles.ReadFile("lua/" + name + ".lua")
	if err != nil {
		panic(err) // it is built in
	}
	return string(text)
}

// prelude names the states of a hold and the ends of numbers, and has the functions of
// lua/prelude.lua.
func prelude() string {
	states := fmt.Sprintf("local PENDING, PLACED, REFUSED, RELEASED = '%s', '%s', '%s', '%s'\n", pending, placed, refused, released)
	ends := fmt.Sprintf("local MAX_SEQ, LAST_SEQ, MAX_TOTAL = %d, %d, %d\n", int64(seckill.MaxSeq), int64(lastSeq), seckill.MaxTotal)
	return states + ends + luaFile("prelude")
}

// reserveScript runs lua/reserve.lua for buyers of one sale. Redis decides nothing after
// latest; now stands for its clock if it is not zero.
func (g *Gate) reserveScript(ctx context.Context, id seckill.SaleID, now string, latest time.Time, buyers []*ask) ([]rueidis.RedisMessage, error) {
	args := make([]string, 0, 4+4*len(buyers))
	args = append(args, id.String(), strconv.Itoa(g.limit), now, decimal(latest.UnixMilli()))
	for _, a := range buyers {
		asked := seckill.Ticket{ID: a.ticket, Sale: id, Buyer: a.buyer, Quantity: a.quantity}
		args = append(args, a.buyer, strconv.Itoa(a.quantity), a.ticket, sealText(g.seals.Make(&asked)))
	}
	return g.call(ctx, id, scripts.reserve, []string{g.saleKey(id), g.holdsKey(id), g.outboxKey(bucket(id))}, args)
}

// finishScript runs lua/finish.lua for outcomes of one sale.
func (g *Gate) finishScript(ctx context.Context, id seckill.SaleID, outcomes []seckill.Outcome) ([]rueidis.RedisMessage, error) {
	args := make([]string, 0, 1+4*len(outcomes))
	args = append(args, g.finalChannel(bucket(id)))
	for _, o := range outcomes {
		became := "placed"
		switch {
		case o.Returns():
			became = "returns"
		case !o.Placed():
			became = "void"
		}
		args = append(args, o.Ticket.Buyer, o.Ticket.ID, strconv.Itoa(o.Ticket.Quantity), became)
	}
	return g.call(ctx, id, scripts.finish, []string{g.saleKey(id), g.holdsKey(id), g.outboxKey(bucket(id))}, args)
}

// releaseScript runs lua/release.lua.
func (g *Gate) releaseScript(ctx context.Context, r seckill.Return) ([]rueidis.RedisMessage, error) {
	id, args := r.Sale, make([]string, 0, 1+3*len(r.Tickets))
	args = append(args, decimal(r.Epoch))
	for _, t := range r.Tickets {
		args = append(args, t.ID, t.Buyer, strconv.Itoa(t.Quantity))
	}
	return g.call(ctx, id, scripts.release, []string{g.saleKey(id), g.holdsKey(id), g.releasedKey(id), g.outboxKey(bucket(id))}, args)
}

// moveScript runs lua/move.lua.
func (g *Gate) moveScript(ctx context.Context, m seckill.Move) ([]rueidis.RedisMessage, error) {
	return g.call(ctx, m.Sale, scripts.move, []string{g.saleKey(m.Sale), g.movesKey(m.Sale)}, []string{m.ID, decimal(m.Delta), decimal(m.Epoch)})
}

// applyScript runs lua/apply.lua.
func (g *Gate) applyScript(ctx context.Context, sale *seckill.Sale) ([]rueidis.RedisMessage, error) {
	args := append([]string{sale.ID.String(), decimal(sale.Version)}, versionFields(sale)...)
	return g.call(ctx, sale.ID, scripts.apply, []string{g.saleKey(sale.ID), g.stopsKey(bucket(sale.ID))}, args)
}

// openScript runs lua/open.lua for a sale that this node has shut with the token, and whose
// holds, so many, it has written aside. seq is the last admission number that was given.
func (g *Gate) openScript(ctx context.Context, v *seckill.Snapshot, token string, holds int, seq int64) ([]rueidis.RedisMessage, error) {
	id := v.Sale.ID
	args := append([]string{token, id.String(), decimal(v.Sale.Epoch), strconv.Itoa(holds)}, openFields(v, seq)...)
	return g.call(ctx, id, scripts.open, []string{g.saleKey(id), g.holdsKey(id), g.releasedKey(id), g.movesKey(id), g.newHoldsKey(id, token), g.stopsKey(bucket(id))}, args)
}

// asideScript runs lua/aside.lua for an entry of a bucket's outbox, and reports whether the
// entry was still there.
func (g *Gate) asideScript(ctx context.Context, b int, entry, kept string) (first bool, err error) {
	answer, err := g.run(ctx, b, scripts.aside, []string{g.outboxKey(b), g.asideKey(b)}, []string{entry, kept, strconv.Itoa(asideMost), outboxGroup})
	if err != nil {
		return false, err
	}
	said, err := answer[0].ToString()
	return said == "aside", err
}

// stopScript runs lua/stop.lua.
func (g *Gate) stopScript(ctx context.Context, stop seckill.Stop, note string) error {
	_, err := g.call(ctx, stop.Sale, scripts.stop, []string{g.saleKey(stop.Sale), g.stopsKey(bucket(stop.Sale))}, []string{stop.Sale.String(), note, stopField(stop)})
	return err
}

// learnedScript runs lua/learned.lua.
func (g *Gate) learnedScript(ctx context.Context, stop seckill.Stop) error {
	at, err := stop.At.MarshalText()
	if err != nil {
		return err
	}
	_, err = g.run(ctx, bucket(stop.Sale), scripts.learned, []string{g.stopsKey(bucket(stop.Sale))}, []string{stop.Sale.String(), stopField(stop), string(at)})
	return err
}

// groupScripts runs lua/group.lua for buckets, together. It is sent as it is: before a script
// is named by its hash the client brings it to every master, and one of them may be gone.
func (g *Gate) groupScripts(ctx context.Context, client rueidis.Client, buckets []int) []rueidis.RedisResult {
	each := make([]rueidis.LuaExec, len(buckets))
	for i, b := range buckets {
		each[i] = rueidis.LuaExec{Keys: []string{g.outboxKey(b)}, Args: []string{outboxGroup}}
	}
	return scripts.group.ExecMulti(ctx, client, each...)
}

// leaseScript runs lua/lease.lua for this node, and reports whether it holds the lease.
func (g *Gate) leaseScript(ctx context.Context, b int, lease string, life time.Duration) (held bool, err error) {
	answer, err := g.run(ctx, b, scripts.lease, []string{lease}, []string{g.node, decimal(life.Milliseconds())})
	if err != nil {
		return false, err
	}
	said, err := answer[0].ToString()
	if said == "endless" {
		g.asides["keys"].Inc()
		g.log.Error("gate: a lease did not end by itself, so nobody has worked; it ends now", "key", lease, "after", life)
	}
	return said == "held", err
}

// shutScript runs lua/shut.lua.
func (g *Gate) shutScript(ctx context.Context, id seckill.SaleID, token string) error {
	_, err := g.run(ctx, bucket(id), scripts.shut, []string{g.saleKey(id)}, []string{token})
	return err
}

// holdScript runs lua/hold.lua for buyers and their holds in turn, at most 2 * holdsAtOnce, of a
// sale that this node has shut with the token.
func (g *Gate) holdScript(ctx context.Context, id seckill.SaleID, token string, holds []string) error {
	_, err := g.run(ctx, bucket(id), scripts.hold, []string{g.newHoldsKey(id, token)}, append([]string{decimal(asideLife.Milliseconds())}, holds...))
	return err
}

// stopField is the field of a sale that a stop keeps set.
func stopField(stop seckill.Stop) string {
	if stop.End {
		return fieldEnded
	}
	return fieldPaused
}

// disownScript runs lua/disown.lua for a field of a hash, and reports whether it was
// still there. sale is the key of the sale, if the field is the hold of a buyer; over says that the
// caller has written another hold over it.
func (g *Gate) disownScript(ctx context.Context, b int, hash, field, content, kept string, over bool, sale ...string) (first bool, err error) {
	args := []string{field, content, kept, strconv.Itoa(asideMost), ""}
	if over {
		args[4] = "over"
	}
	answer, err := g.run(ctx, b, scripts.disown, append([]string{hash, g.asideKey(b)}, sale...), args)
	if err != nil {
		return false, err
	}
	said, err := answer[0].ToString()
	return said == "aside", err
}

// damagedScript runs lua/damaged.lua for keys of a bucket with the types that they should
// have, and reports whether this was the first one to find something, and what. id is 0 if
// they are not of one sale.
func (g *Gate) damagedScript(ctx context.Context, b int, id seckill.SaleID, keys, types []string) (first bool, found string, err error) {
	args := []string{"", time.Now().UTC().Format(time.RFC3339), strconv.Itoa(asideMost)}
	if id != 0 {
		args[0] = id.String()
	}
	answer, err := g.run(ctx, b, scripts.damaged, append([]string{g.asideKey(b)}, keys...), append(args, types...))
	if err != nil {
		return false, "", err
	}
	if said, err := answer[0].ToString(); err != nil || said != "aside" {
		return false, "", err
	}
	found, err = answer[1].ToString()
	return true, found, err
}

// call runs a script on a sale. That the sale is closed, or was rebuilt, is an error, and
// wakes whoever rebuilds sales. So does a state that is damaged: it is closed.
func (g *Gate) call(ctx context.Context, id seckill.SaleID, script *rueidis.Lua, keys, args []string) ([]rueidis.RedisMessage, error) {
	answer, err := g.run(ctx, bucket(id), script, keys, args)
	if mistyped(err) {
		return nil, g.damagedSale(ctx, id)
	}
	if err != nil {
		return nil, err
	}
	switch first, _ := answer[0].ToString(); first {
	case "closed":
		// Buyers may ask for any id: whether there is such a sale is asked of the catalogue
		// first, and it wakes who rebuilds (sale.Sales.Missing).
		if script != scripts.reserve || g.known(id) != nil {
			g.lost.Send()
		}
		return nil, gate.Closed(id)
	case "damaged":
		return nil, g.damagedSale(ctx, id)
	case "stale":
		g.lost.Send() // or the gate missed a rebuild
		return nil, gate.Stale(id)
	}
	return answer, nil
}

// run runs a script on a bucket.
func (g *Gate) run(ctx context.Context, b int, script *rueidis.Lua, keys, args []string) ([]rueidis.RedisMessage, error) {
	client, err := g.up(b)
	if err != nil {
		return nil, err
	}
	ctx, cancel := g.bound(ctx)
	defer cancel()
	answer, err := script.Exec(ctx, client, keys, args).ToArray()
	if err != nil {
		if context.Cause(ctx) == context.Canceled {
			return nil, err // the caller went away: that says nothing about Redis
		}
		return nil, g.fail(b, err)
	}
	g.breaker(b).heard.Store(time.Now().UnixNano())
	return answer, nil
}
