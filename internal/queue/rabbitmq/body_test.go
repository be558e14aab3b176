package rabbitmq

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/queue/queuetest"
)

// Other programs read the messages: their bytes are those of encoding/json.
func TestABodyIsTheTicketsJSON(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(1_800_000_000_123).UTC()
	id := seckill.NewTicketID(at)
	for _, of := range []seckill.Ticket{
		{ID: id, Sale: 7, Buyer: "buyer-1", Quantity: 2, Seq: 5, At: at},
		{ID: id, Sale: math.MaxInt64, Buyer: "a b~!#'", Quantity: 1, Seq: seckill.MaxSeq, At: at.Truncate(time.Second), Seal: seckill.Seal{1, 255, 7}},
		{ID: id, Sale: 7, Buyer: "buyer-1", Quantity: 2, Seq: 5, At: at, Version: 3, Seal: seckill.Seal{1, 255, 7}},
		{ID: id, Sale: 7, Buyer: "buyer-1", Quantity: 2, Seq: 5, At: at, Version: 1},
		{ID: id, Sale: 7, Buyer: "买家", Quantity: 2, Seq: 5, At: at, Version: seckill.MaxSeq, Seal: seckill.Seal{7}},
		{ID: id, Sale: 1, Buyer: "买家 1", Quantity: 1, At: at.Add(1)},
		{ID: id, Sale: 1, Buyer: `"quoted\" <b>&`, Quantity: 1, At: at.In(time.FixedZone("", 2*3600))},
	} {
		want, err := json.Marshal(of)
		require.NoError(t, err)
		body, err := encode(of)
		require.NoError(t, err)
		require.Equal(t, string(want), string(body))
		got, err := decode(body)
		require.NoError(t, err)
		require.True(t, of.At.Equal(got.At))
		got.At = of.At
		require.Equal(t, of, got)
	}
	_, err := encode(seckill.Ticket{ID: id, Buyer: "b", At: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)})
	require.Error(t, err, "JSON has no such year")
}

// The short way reads nothing that encoding/json does not read, and nothing otherwise.
func FuzzDecodePlain(f *testing.F) {
	body, err := encode(queuetest.Some(1)[0])
	require.NoError(f, err)
	plain, err := encode(seckill.Ticket{ID: seckill.NewTicketID(time.Now()), Sale: 7, Buyer: "buyer-1", Quantity: 2, Seq: 5, At: time.UnixMilli(1_800_000_000_000).UTC()})
	require.NoError(f, err)
	_, ok := decodePlain(plain)
	require.True(f, ok)
	f.Add(body)
	f.Add(plain)
	for _, not := range []string{`"seq":05`, `"seq":-5`, `"seq":5.0`, `"seq":5e0`, `"seq":`, `"seq":9999999999999999999`, `"seq": 5`, `"Seq":5`, `"seq":"5"`, `"seq":null`} {
		f.Add([]byte(strings.Replace(string(plain), `"seq":5`, not, 1)))
	}
	for _, not := range []string{`"07"`, `"-7"`, `"7 "`, `7`, `""`} {
		f.Add([]byte(strings.Replace(string(plain), `"7"`, not, 1)))
	}
	f.Add([]byte(strings.Replace(string(plain), "buyer-1", "buyer\x7f", 1)))
	f.Add([]byte(strings.Replace(string(plain), "buyer-1", `\u0041`, 1)))
	f.Add([]byte(strings.Replace(string(plain), "T", " ", 1)))
	f.Add(append(plain, ' '))
	f.Add(append(plain, '}'))
	f.Fuzz(func(t *testing.T, body []byte) {
		short, ok := decodePlain(body)
		if !ok {
			return
		}
		var long seckill.Ticket
		require.NoError(t, json.Unmarshal(body, &long))
		require.Equal(t, long, short)
	})
}
