package seckill

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTicketIDsSortByTime(t *testing.T) {
	t.Parallel()
	var ids []string
	for _, ms := range []int64{0, 1, 31, 32, 1 << 20, noon.UnixMilli() - 1, noon.UnixMilli(), noon.UnixMilli() + 1, noon.UnixMilli() + 1000, noon.AddDate(1000, 0, 0).UnixMilli()} {
		id := NewTicketID(time.UnixMilli(ms))
		require.True(t, ValidTicketID(id), id)
		ids = append(ids, id)
	}
	require.True(t, slices.IsSorted(ids), "%v", ids)
	// Within a millisecond the order is random, and the front is the same.
	require.Equal(t, NewTicketID(noon)[:9], NewTicketID(noon.Add(time.Millisecond - 1))[:9])
}

func TestTicketIDsAreUnique(t *testing.T) {
	t.Parallel()
	const workers, each = 4, 5000
	all := make([][]string, workers)
	var g sync.WaitGroup
	for w := range workers {
		g.Go(func() {
			for range each {
				all[w] = append(all[w], NewTicketID(noon))
			}
		})
	}
	g.Wait()
	seen := map[string]bool{}
	for _, id := range slices.Concat(all...) {
		require.False(t, seen[id], "%s came twice", id)
		seen[id] = true
	}
}

var ticketID = regexp.MustCompile(`\A[0-9A-Z]{26}\z`)

func FuzzValidTicketID(f *testing.F) {
	for _, s := range []string{"", NewTicketID(noon), strings.Repeat("0", 26), strings.Repeat("Z", 26), strings.Repeat("z", 26), strings.Repeat("0", 25), strings.Repeat("0", 27), strings.Repeat("0", 25) + "\n", strings.Repeat("０", 26), "00000000000-00000000000000", strings.Repeat("0", 12) + "é" + strings.Repeat("0", 12)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		require.Equal(t, ticketID.MatchString(s), ValidTicketID(s), "%q", s)
	})
}

func aTicket() Ticket {
	return Ticket{ID: "1K757LBJ8K7QX2MZB4TWJ5RVCA", Sale: 7, Buyer: "买家", Quantity: 2, Seq: 3, At: noon}
}

func TestWhatIsNoTicket(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Ticket){
		"no id":                         func(v *Ticket) { v.ID = "" },
		"another id":                    func(v *Ticket) { v.ID = "../../../../../etc/passwd0" },
		"no sale":                       func(v *Ticket) { v.Sale = 0 },
		"a negative sale":               func(v *Ticket) { v.Sale = -1 },
		"no buyer":                      func(v *Ticket) { v.Buyer = "" },
		"a long buyer":                  func(v *Ticket) { v.Buyer = strings.Repeat("a", 65) },
		"a strange buyer":               func(v *Ticket) { v.Buyer = "a\x00" },
		"no unit":                       func(v *Ticket) { v.Quantity = 0 },
		"negative units":                func(v *Ticket) { v.Quantity = -1 },
		"too many units":                func(v *Ticket) { v.Quantity = MaxQuantity + 1 },
		"a negative number":             func(v *Ticket) { v.Seq = -1 },
		"far too many units":            func(v *Ticket) { v.Quantity = math.MaxInt },
		"a number that no double holds": func(v *Ticket) { v.Seq = MaxSeq + 1 },
		"a negative version":            func(v *Ticket) { v.Version = -1 },
		"a version beyond all numbers":  func(v *Ticket) { v.Version = MaxSeq + 1 },
		"a time long ago":               func(v *Ticket) { v.At = time.UnixMilli(-1) },
		"a time far away":               func(v *Ticket) { v.At = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		v := aTicket()
		change(&v)
		b, err := v.AppendBinary(nil)
		require.NoError(t, err)
		_, _, err = CutTicket(b)
		require.Error(t, err, name)
	}
	whole, _ := aTicket().AppendBinary(nil)
	for n := range whole {
		v, rest, err := CutTicket(whole[:n])
		require.Error(t, err, "%d of %d bytes", n, len(whole))
		require.Zero(t, v)
		require.Nil(t, rest)
	}
}

// firstForm is a ticket as version 0.1.0 wrote it.
func firstForm(t Ticket) []byte {
	b := appendString(nil, t.ID)
	b = binary.AppendUvarint(b, uint64(t.Sale))
	b = appendString(b, t.Buyer)
	b = binary.AppendUvarint(b, uint64(t.Quantity))
	b = binary.AppendUvarint(b, uint64(t.Seq))
	return binary.AppendVarint(b, t.At.UnixMilli())
}

// What an earlier version wrote is read, one form behind the other; a form that is
// not known is an error, and so is a ticket that is damaged, which the next one
// survives.
func TestFormsOfATicket(t *testing.T) {
	t.Parallel()
	sealed := aTicket()
	sealed.Seal = Seal{1, 2, 3}
	row, err := sealed.AppendBinary(firstForm(aTicket()))
	require.NoError(t, err)
	first, rest, err := CutTicket(row)
	require.NoError(t, err)
	require.Equal(t, aTicket(), first)
	second, rest, err := CutTicket(rest)
	require.NoError(t, err)
	require.Equal(t, sealed, second)
	require.Empty(t, rest)

	// The second form has a seal and no version of the sale.
	fields := append(firstForm(aTicket()), sealed.Seal[:]...)
	row = append(binary.AppendUvarint([]byte{2}, uint64(len(fields))), fields...)
	second, rest, err = CutTicket(row)
	require.NoError(t, err)
	require.Equal(t, sealed, second)
	require.Empty(t, rest)
	versioned := sealed
	versioned.Version = 1 << 40
	row, err = versioned.AppendBinary(nil)
	require.NoError(t, err)
	third, _, err := CutTicket(row)
	require.NoError(t, err)
	require.Equal(t, versioned, third)

	_, rest, err = CutTicket([]byte{TicketForm + 1, 0})
	require.ErrorIs(t, err, errTicketBytes)
	require.ErrorContains(t, err, "form 4")
	require.Nil(t, rest)

	damaged, err := aTicket().AppendBinary(nil)
	require.NoError(t, err)
	damaged[10] = '-'
	row, err = sealed.AppendBinary(damaged)
	require.NoError(t, err)
	_, rest, err = CutTicket(row)
	require.ErrorIs(t, err, errTicketBytes)
	second, _, err = CutTicket(rest)
	require.NoError(t, err)
	require.Equal(t, sealed, second)
}

// Whatever can be a ticket is the same ticket after the journal, and what stands
// behind it stays.
func FuzzTicketRoundTrip(f *testing.F) {
	f.Add("1K757LBJ8K7QX2MZB4TWJ5RVCA", int64(1), "a", 1, int64(0), int64(0), []byte(nil), "x")
	f.Add(strings.Repeat("0", 26), int64(math.MaxInt64), strings.Repeat("字", 64), MaxQuantity, int64(math.MaxInt64), noon.UnixMilli(), []byte{0}, "")
	f.Add(strings.Repeat("Z", 26), int64(128), "a b", 127, int64(128), int64(-1), []byte("1K757LBJ8K7QX2MZB4TWJ5RVCA"), "before")
	f.Add("", int64(-1), "", -1, int64(-1), int64(math.MinInt64), []byte{255}, "")
	f.Fuzz(func(t *testing.T, id string, sale int64, buyer string, quantity int, seq, ms int64, behind []byte, before string) {
		want := Ticket{ID: id, Sale: SaleID(sale), Buyer: buyer, Quantity: quantity, Seq: seq, At: time.UnixMilli(ms).UTC()}
		year := want.At.Year()
		possible := ValidTicketID(id) && sale > 0 && ValidBuyer(buyer) && quantity >= 1 && quantity <= MaxQuantity && seq >= 0 && seq <= MaxSeq && year >= 1970 && year <= 9999
		if len(buyer) > 400 || len(id) > 60 {
			return // nobody writes such a ticket
		}
		b, err := want.AppendBinary([]byte(before))
		require.NoError(t, err)
		require.True(t, bytes.HasPrefix(b, []byte(before)), "it appends")
		got, rest, err := CutTicket(append(b[len(before):], behind...))
		require.Equal(t, possible, err == nil, "%+v: %v", want, err)
		if err == nil {
			require.Equal(t, want, got)
			require.True(t, bytes.Equal(behind, rest))
		}
	})
}

// Whatever bytes are in a journal: what is read from them is a possible ticket,
// and the same one when it is written and read again.
func FuzzCutTicket(f *testing.F) {
	whole, _ := aTicket().AppendBinary(nil)
	two, _ := aTicket().AppendBinary(whole)
	f.Add(whole)
	f.Add(firstForm(aTicket()))
	f.Add(two)
	f.Add(whole[:len(whole)-1])
	f.Add([]byte{})
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 255, 255, 1})
	f.Add(append([]byte{26}, bytes.Repeat([]byte("0"), 26)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		input := bytes.Clone(b)
		v, rest, err := CutTicket(b)
		require.Equal(t, input, b, "reading changes nothing")
		if err != nil {
			require.Zero(t, v)
			require.True(t, bytes.HasSuffix(b, rest))
			require.True(t, rest == nil || len(rest) < len(b), "it gets on, or stops")
			return
		}
		require.True(t, bytes.HasSuffix(b, rest))
		require.Less(t, len(rest), len(b), "it gets on")
		require.True(t, ValidTicketID(v.ID) && v.Sale > 0 && ValidBuyer(v.Buyer) && v.Quantity >= 1 && v.Quantity <= MaxQuantity && v.Seq >= 0, "%+v", v)
		again, err := v.AppendBinary(nil)
		require.NoError(t, err)
		w, none, err := CutTicket(again)
		require.NoError(t, err)
		require.Empty(t, none)
		require.Equal(t, v, w)
	})
}

func TestATicketInJSON(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(aTicket())
	require.NoError(t, err)
	require.JSONEq(t, `{"id":"1K757LBJ8K7QX2MZB4TWJ5RVCA","sale":"7","buyer":"买家","quantity":2,"seq":3,"at":"2026-11-11T12:00:00Z"}`, string(b))
	var v Ticket
	require.NoError(t, json.Unmarshal(b, &v))
	require.Equal(t, aTicket(), v)
}

func TestWhatAnOutcomeMeans(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason          Reason
		placed, returns bool
	}{
		{ReasonNone, true, false},
		{ReasonSoldOut, false, false}, // the gate had promised what was not there
		{ReasonLimit, false, true},
		{ReasonNoSale, false, true},
		{ReasonPoison, false, true},
		{ReasonNotAdmitted, false, true},
	} {
		o := Outcome{Ticket: aTicket(), Reason: c.reason}
		require.Equal(t, c.placed, o.Placed(), c.reason)
		require.Equal(t, c.returns, o.Returns(), c.reason)
		require.Equal(t, c.placed, o.Order() == o.Ticket.ID, c.reason)
		require.Equal(t, !c.placed, o.Order() == "", c.reason)
	}
}
