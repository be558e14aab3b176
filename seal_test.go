package seckill

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func seals(t testing.TB, secrets ...string) *Seals {
	t.Helper()
	var keys [][]byte
	for _, s := range secrets {
		keys = append(keys, []byte(s))
	}
	s, err := NewSeals(keys...)
	require.NoError(t, err)
	return s
}

// A seal holds every field of its ticket: with another one it is not genuine.
func TestASealHoldsEveryField(t *testing.T) {
	t.Parallel()
	s := seals(t, "a secret")
	genuine := aTicket()
	require.False(t, s.Genuine(&genuine), "no seal at all")
	genuine.Seal = s.Make(&genuine)
	require.True(t, s.Genuine(&genuine))
	for name, change := range map[string]func(*Ticket){
		"id":       func(v *Ticket) { v.ID = NewTicketID(noon) },
		"sale":     func(v *Ticket) { v.Sale++ },
		"buyer":    func(v *Ticket) { v.Buyer += "a" },
		"quantity": func(v *Ticket) { v.Quantity++ },
		"number":   func(v *Ticket) { v.Seq++ },
		"time":     func(v *Ticket) { v.At = v.At.Add(time.Millisecond) },
		"version":  func(v *Ticket) { v.Version++ },
		"seal":     func(v *Ticket) { v.Seal[15] ^= 1 },
	} {
		forged := genuine
		change(&forged)
		require.False(t, s.Genuine(&forged), name)
	}
	require.False(t, seals(t, "another secret").Genuine(&genuine))
}

// While secrets rotate, what the previous one has sealed is genuine, and new seals are
// made with the new one.
func TestSealsOfThePreviousSecret(t *testing.T) {
	t.Parallel()
	before, rotating, after := seals(t, "old"), seals(t, "new", "old"), seals(t, "new")
	ticket := aTicket()
	ticket.Seal = before.Make(&ticket)
	require.True(t, rotating.Genuine(&ticket))
	require.False(t, after.Genuine(&ticket))
	ticket.Seal = rotating.Make(&ticket)
	require.True(t, after.Genuine(&ticket))
	require.False(t, before.Genuine(&ticket))
	require.Equal(t, before.Prints()[0], rotating.Prints()[1])
	require.NotEqual(t, before.Prints()[0], after.Prints()[0])
}

// What was sealed before the ticket had its number and time says who asked, and is no
// seal of the whole ticket.
func TestASealOfWhatWasAsked(t *testing.T) {
	t.Parallel()
	s := seals(t, "a secret")
	asked := aTicket()
	asked.Seq, asked.At = 0, time.Time{}
	ticket := aTicket()
	ticket.Seal = s.Make(&asked)
	require.True(t, s.Asked(ticket))
	require.False(t, s.Genuine(&ticket))
	// The same bytes are sealed of a ticket without number, at the beginning of the clock.
	ticket.Seq, ticket.At = 0, time.UnixMilli(0)
	require.NoError(t, ticket.Check())
	require.False(t, s.Genuine(&ticket), "a seal of what was asked admits nobody")
	ticket = aTicket()
	ticket.Seal = s.Make(&ticket)
	require.False(t, s.Asked(ticket))
}

// A secret that is not set seals nothing: its key would be known to everybody.
func TestNobodySealsWithoutASecret(t *testing.T) {
	t.Parallel()
	for _, none := range [][][]byte{nil, {nil}, {{}, nil}} {
		_, err := NewSeals(none...)
		require.Error(t, err)
	}
	everybodys := &Seals{keys: []*sealKey{sealKeyOf(t, nil)}}
	forged := aTicket()
	forged.Seal = everybodys.Make(&forged)
	require.False(t, seals(t, "a secret", "").Genuine(&forged))
}

func sealKeyOf(t *testing.T, secret []byte) *sealKey {
	t.Helper()
	key, err := hkdf.Key(sha256.New, secret, nil, "seckill ticket seal", sha256.Size)
	require.NoError(t, err)
	return NewMAC[[512]byte](key)
}

func TestASealInJSON(t *testing.T) {
	t.Parallel()
	ticket := aTicket()
	ticket.Seal = seals(t, "a secret").Make(&ticket)
	b, err := json.Marshal(ticket)
	require.NoError(t, err)
	var v Ticket
	require.NoError(t, json.Unmarshal(b, &v))
	require.Equal(t, ticket, v)
	for _, text := range []string{`"AAAAAAAAAAAAAAAAAAAAA"`, `"AAAAAAAAAAAAAAAAAAAAAB"`, `"AAAAAAAAAAAAAAAAAAAA=="`, `"AAAAAAAAAAAAAAAAAAAA++"`, `7`} {
		var s Seal
		require.Error(t, json.Unmarshal([]byte(text), &s), text)
	}
}

// The cost of a seal, which each admitted ticket bears three times on its way.
func BenchmarkSeal(b *testing.B) {
	s := seals(b, "a secret")
	ticket := aTicket()
	ticket.Seal = s.Make(&ticket)
	b.ReportAllocs()
	for b.Loop() {
		if !s.Genuine(&ticket) {
			b.Fatal("not genuine")
		}
	}
}

// A ticket that names the version of its sale cannot be given another one, or none, and
// what was sealed before there were versions is genuine still.
func TestASealHoldsTheVersion(t *testing.T) {
	t.Parallel()
	s := seals(t, "a secret")
	genuine := aTicket()
	genuine.Version = 3
	genuine.Seal = s.Make(&genuine)
	require.True(t, s.Genuine(&genuine))
	for _, version := range []int64{0, 1, 2, 4} {
		forged := genuine
		forged.Version = version
		require.False(t, s.Genuine(&forged), version)
	}
	old := aTicket()
	require.NoError(t, old.Seal.UnmarshalText([]byte("yRfE8bMeVYzXlBpMNjKYzg")))
	require.True(t, s.Genuine(&old))
}

func TestANoteOfAStopIsSealed(t *testing.T) {
	t.Parallel()
	of := func(secrets ...string) *Seals { return seals(t, secrets...) }
	stop := Stop{Sale: 7, End: true, At: time.Date(2026, 11, 11, 12, 0, 0, 5, time.UTC), By: Actor{Who: "root", Intent: "\xff <&> \u2028"}}
	text, err := of("one").Note(stop)
	require.NoError(t, err)
	read, err := of("two", "one").ReadNote(text)
	require.NoError(t, err, "the one before is accepted while rotating")
	stop.By.Intent = "\ufffd <&> \u2028"
	require.Equal(t, stop, read)
	_, err = of("two").ReadNote(text)
	require.ErrorIs(t, err, ErrUnsealed)
	for _, change := range [][2]string{{`"sale":"7"`, `"sale":"8"`}, {`"end":true`, `"end":false`}, {`"who":"root"`, `"who":"eve"`}} {
		_, err = of("one").ReadNote([]byte(strings.Replace(string(text), change[0], change[1], 1)))
		require.ErrorIs(t, err, ErrUnsealed, change[1])
	}
	ticket := Ticket{ID: "x"}
	require.NotEqual(t, of("one").Make(&ticket), noteSeal(of("one").notes[0], []byte("x")), "its key is its own")
	plain, err := (*Seals)(nil).Note(stop)
	require.NoError(t, err)
	_, err = (*Seals)(nil).ReadNote(plain)
	require.NoError(t, err)
	for _, bad := range []string{"", "x", "{}", "7", `{"sale":"7"}`, string(plain), string(text[:len(text)-2]), string(text) + " ", `{"sale":"7","seal":""}`} {
		_, err = of("one").ReadNote([]byte(bad))
		require.Error(t, err, bad)
	}
}
