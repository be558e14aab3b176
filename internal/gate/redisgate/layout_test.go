package redisgate

import (
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"seckill"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// A hold that Go writes is read by a script, and the other way round; so is an
// outbox entry.
func TestGoAndTheScriptsWriteTheSameForms(t *testing.T) {
	t.Parallel()
	admin := administers(t, stacktest.Own(t, stack.KindRedis))
	lua := func(t *rapid.T, script string, args ...string) []string {
		said, err := admin.Do(t.Context(), admin.B().Eval().Script(prelude()+script).Numkeys(0).Arg(args...).Build()).AsStrSlice()
		require.NoError(t, err, script)
		return said
	}
	rapid.Check(t, func(t *rapid.T) {
		at := time.UnixMilli(rapid.Int64Range(0, 1<<42).Draw(t, "at")).UTC()
		ticket := seckill.Ticket{
			ID: seckill.NewTicketID(at), At: at, Sale: seckill.SaleID(rapid.Int64Range(1, 1<<62).Draw(t, "sale")),
			Buyer:    rapid.StringMatching(`[a-z0-9,{}:-]{1,64}`).Draw(t, "buyer"),
			Quantity: rapid.IntRange(1, seckill.MaxQuantity).Draw(t, "quantity"),
			Seq:      rapid.Int64Range(1, seckill.MaxSeq).Draw(t, "seq"),
		}
		state := rapid.SampledFrom([]string{pending, placed, refused, released}).Draw(t, "state")
		entry := rapid.SampledFrom([]string{noEntry, "1764230400000-0"}).Draw(t, "entry")
		seal := seckill.Seal(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "seal"))
		text, _ := seal.MarshalText()
		written := hold(state, &ticket, entry, seal)
		fields := []string{state, ticket.ID, strconv.Itoa(ticket.Quantity), decimal(ticket.Seq), entry, string(text)}
		require.Equal(t, fields, lua(t, "return {hold_read(ARGV[1])}", written))
		require.Equal(t, []string{written}, lua(t, "return {hold_write(ARGV[1], ARGV[2], ARGV[3], whole(tonumber(ARGV[4])), ARGV[5], ARGV[6])}", fields...))
		readState, read, err := parseHold(written)
		require.NoError(t, err)
		require.Equal(t, state, readState)
		require.Equal(t, seckill.Ticket{ID: ticket.ID, Quantity: ticket.Quantity, Seq: ticket.Seq, Seal: seal}, read)
		require.Equal(t, entry, entryOf(written))

		// The form of version 0.1.0, which had no seal, is read and stays as it is.
		first := strings.Join([]string{state + ticket.ID, fields[2], fields[3], entry}, ",")
		require.Equal(t, fields[:5], lua(t, "return {hold_read(ARGV[1])}", first))
		require.Equal(t, []string{first}, lua(t, "return {hold_write(hold_read(ARGV[1]))}", first))
		_, read, err = parseHold(first)
		require.NoError(t, err)
		require.Equal(t, seckill.Ticket{ID: ticket.ID, Quantity: ticket.Quantity, Seq: ticket.Seq}, read)
		require.Equal(t, entry, entryOf(first))

		inOutbox := lua(t, "return {entry_write(ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6])}",
			ticket.ID, ticket.Sale.String(), strconv.Itoa(ticket.Quantity), decimal(ticket.Seq), decimal(at.UnixMilli()), ticket.Buyer)[0]
		same, err := parseEntry(rueidis.XRangeEntry{ID: "1-0", FieldValues: map[string]string{entryField: inOutbox}})
		require.NoError(t, err)
		require.Equal(t, ticket, same)
	})
}

// What is no hold is no hold for both of them.
func TestWhatIsNoHold(t *testing.T) {
	t.Parallel()
	admin := administers(t, stacktest.Own(t, stack.KindRedis))
	for _, s := range []string{"", "p", "pABC", "p06FQ3C5TSABCDEFGHIJKLMNOPQ", "p06FQ3C5TSABCDEFGHIJKLMNOPQ,2,17", "p06FQ3C5TSABCDEFGHIJKLMNOPQ,two,17,-", "p06FQ3C5TSABCDEFGHIJKLMNOPQ,2,1e+15,-", "q06FQ3C5TSABCDEFGHIJKLMNOPQ,2,17,-", "p06FQ3C5TSABCDEFGHIJKLMNOPQ,99999,17,-",
		"2p06FQ3C5TSABCDEFGHIJKLMNOPQ,2,17,-", "2p06FQ3C5TSABCDEFGHIJKLMNOPQ,2,17,-,", "2p06FQ3C5TSABCDEFGHIJKLMNOPQ,2,17,-,AQID", "p06FQ3C5TSABCDEFGHIJKLMNOPQ,2,17,-,AAAAAAAAAAAAAAAAAAAAAA", "3p06FQ3C5TSABCDEFGHIJKLMNOPQ,2,17,-,AAAAAAAAAAAAAAAAAAAAAA",
		"p06FQ3C5TSABCDEFGHIJKLMNOPQ,2,99999999999999999,-", "p06FQ3C5TSABCDEFGHIJKLMNOPQ,2,17,"} {
		_, _, err := parseHold(s)
		assert.Error(t, err, "%q", s)
		read, err := admin.Do(t.Context(), admin.B().Eval().Script(prelude()+"return #{hold_read(ARGV[1])}").Numkeys(0).Arg(s).Build()).AsInt64()
		require.NoError(t, err)
		assert.Zero(t, read, "%q", s)
	}
}

// The scripts use no field of a sale's hash that layout.go does not list.
func TestTheScriptsUseTheFieldsOfTheLayout(t *testing.T) {
	t.Parallel()
	layout, err := os.ReadFile("layout.go")
	require.NoError(t, err)
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile(`field\w+ += "(\w+)"`).FindAllStringSubmatch(string(layout), -1) {
		listed[m[1]] = true
	}
	require.NotEmpty(t, listed)
	page, err := os.ReadFile("../../../docs/redis.md")
	require.NoError(t, err)
	for field := range listed {
		assert.Contains(t, string(page), "`"+field+"`", "docs/redis.md has no field %s", field)
	}
	used := map[string]bool{}
	files, err := fs.Glob(luaFiles, "lua/*.lua")
	require.NoError(t, err)
	for _, file := range files {
		script, err := fs.ReadFile(luaFiles, file)
		require.NoError(t, err)
		for _, call := range regexp.MustCompile(`redis\.call\('H\w+', sale, ([^)]*)\)`).FindAllStringSubmatch(string(script), -1) {
			for _, field := range regexp.MustCompile(`'(\w+)'`).FindAllStringSubmatch(call[1], -1) {
				used[field[1]] = true
				assert.True(t, listed[field[1]], "%s uses the field %s", file, field[1])
			}
		}
	}
	assert.Greater(t, len(used), 8)
}

// docs/redis.md names every key that a gate makes, its type, whether it ends by
// itself, and what a ticket takes there; and names no other.
func TestThePageOfKeysIsTrue(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	e := stacktest.Own(t, stack.KindRedis)
	g := runGate(t, e.URL(), "seckill:", 0)
	admin := administers(t, e)

	const tickets = 4000
	sale := onSale(t, g, 10*tickets)
	before := memory(t, admin)
	admitted := make([]seckill.Ticket, tickets)
	outcomes := make([]seckill.Outcome, tickets)
	for i := range admitted {
		buyer := fmt.Sprintf("buyer-%010d", i) // 16 characters
		admitted[i] = seckill.Ticket{Sale: sale.ID, Buyer: buyer, Quantity: 1}
	}
	asks := make([]*ask, tickets)
	for i := range asks {
		asks[i] = &ask{buyer: admitted[i].Buyer, quantity: 1, ticket: seckill.NewTicketID(time.Now()), done: make(chan struct{}, 1)}
		admitted[i].ID = asks[i].ticket
		outcomes[i] = seckill.Outcome{Ticket: admitted[i]}
	}
	for from := 0; from < tickets; from += maxAsks {
		require.NoError(t, g.askFor(sale.ID, asks[from:min(from+maxAsks, tickets)], time.Minute))
	}
	pendingSize := memory(t, admin)
	require.NoError(t, g.Finish(ctx, outcomes))
	finalSize := memory(t, admin)
	require.NoError(t, g.Release(ctx, seckill.Return{Sale: sale.ID, Epoch: sale.Epoch, Tickets: admitted[:tickets/2]}))
	releasedSize := memory(t, admin)
	applied, err := g.Move(ctx, seckill.Move{Sale: sale.ID, ID: "more", Delta: 1, Epoch: sale.Epoch})
	require.NoError(t, err)
	require.True(t, applied)
	require.NoError(t, do(t, g, "XADD", g.outboxKey(1), "*", "what", "ever").Error())
	_, err = g.take(ctx, 1)
	require.NoError(t, err)
	sweeper := &Sweeper{Gate: g, Queue: &queue{}, Capacity: capacity(0)}
	require.NoError(t, sweeper.sweep(ctx, time.Now()))
	require.NoError(t, g.Tell(ctx, "node", []byte("{}")))
	_, err = g.Once(ctx, "formula x", time.Minute)
	require.NoError(t, err)
	_, err = g.Delay(ctx, "ann", time.Minute)
	require.NoError(t, err)
	_, err = g.Distinct(ctx, "a network", "ann", time.Hour)
	require.NoError(t, err)
	require.NoError(t, g.Stop(ctx, seckill.Stop{Sale: sale.ID, At: time.Now()}))
	sale.Epoch++
	_, err = g.Shut(ctx, []seckill.SaleID{sale.ID})
	require.NoError(t, err)
	// A rebuild that does not come to its last step leaves the holds aside.
	may(t, admin, "-unlink")
	require.Error(t, g.Load(ctx, []seckill.Snapshot{{Sale: sale, Active: admitted}}))
	may(t, admin, "+unlink", "-eval", "-evalsha")
	require.Error(t, g.Apply(ctx, sale))
	may(t, admin, "+eval", "+evalsha")
	until(t, "the probe is written", func() bool { return len(g.broken()) == 0 })

	type row struct {
		kind string
		ends bool
	}
	made := map[string]row{}
	keys, err := admin.Do(ctx, admin.B().Keys().Pattern("*").Build()).AsStrSlice()
	require.NoError(t, err)
	for _, key := range keys {
		kind, err := admin.Do(ctx, admin.B().Type().Key(key).Build()).ToString()
		require.NoError(t, err)
		ms, err := admin.Do(ctx, admin.B().Pttl().Key(key).Build()).AsInt64()
		require.NoError(t, err)
		name := regexp.MustCompile(`\{\d+\}`).ReplaceAllString(key, "{B}")
		name = regexp.MustCompile(`:1\b`).ReplaceAllString(name, ":ID")
		name = regexp.MustCompile(`:(once|hold|distinct):.*`).ReplaceAllString(name, ":$1:NAME")
		name = regexp.MustCompile(`:[A-Z0-9]{26}$`).ReplaceAllString(name, ":TOKEN")
		made[name] = row{kind, ms > 0}
	}

	page, err := os.ReadFile("../../../docs/redis.md")
	require.NoError(t, err)
	said, sizes := map[string]row{}, map[string]string{}
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if name := strings.Trim(cells[0], "`"); strings.HasPrefix(name, "seckill:") && cells[1] != "channel" {
			said[name] = row{cells[1], strings.HasPrefix(cells[3], "ends")}
		} else if len(cells) == 2 {
			sizes[cells[0]] = cells[1]
		}
	}
	require.Equal(t, said, made, "docs/redis.md says, and the gate made")

	for _, s := range []struct {
		what   string
		actual int64
	}{
		{"a ticket without an outcome", pendingSize["outbox"] + pendingSize["holds"] - before["outbox"] - before["holds"]},
		{"a ticket that was placed", finalSize["holds"] - before["holds"]},
		{"a ticket whose units came back", finalSize["holds"] - before["holds"] + 2*releasedSize["released"]},
	} {
		bytes, err := strconv.Atoi(strings.Fields(sizes[s.what] + " ?")[0])
		require.NoError(t, err, "the size of %s", s.what)
		each := s.actual / tickets
		t.Logf("%s takes %d bytes", s.what, each)
		assert.InDelta(t, bytes, each, 0.3*float64(bytes), "the size of %s", s.what)
	}
}

// memory is the bytes that the keys of sale 1 take, and the outbox of its bucket.
func memory(t *testing.T, admin rueidis.Client) map[string]int64 {
	t.Helper()
	sizes := map[string]int64{}
	for what, key := range map[string]string{"holds": "seckill:{1}:holds:1", "released": "seckill:{1}:released:1", "outbox": "seckill:{1}:outbox"} {
		n, err := admin.Do(t.Context(), admin.B().MemoryUsage().Key(key).Samples(0).Build()).AsInt64()
		if !rueidis.IsRedisNil(err) {
			require.NoError(t, err)
		}
		sizes[what] = n
	}
	return sizes
}
