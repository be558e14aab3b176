package access

import (
	"encoding/base64"
	"encoding/binary"
	"time"

	"seckill"
)

// leeway is how far the clocks of two nodes may be apart before a pass of the one is
// refused by the other. It is twice what nodes are allowed to differ by.
const leeway = 2 * time.Second

// The form of a pass, before base64url: its version, when it was made and until when it
// holds (milliseconds since 1970), and the MAC of these, the sale and the buyer.
const (
	passVersion = 1
	passHead    = 1 + 8 + 8
	passSize    = passHead + 32
)

// strict is how passes are written: one way only.
var strict = base64.RawURLEncoding.Strict()

// sign makes a pass that holds from now on until the given time.
func (g *Guard) sign(sale seckill.SaleID, buyer string, now, until time.Time) string {
	b := make([]byte, 0, passSize)
	b = append(b, passVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(now.UnixMilli()))
	b = binary.BigEndian.AppendUint64(b, uint64(until.UnixMilli()))
	b = g.passes[0].sum(b, b, binary.BigEndian.AppendUint64(nil, uint64(sale)), []byte(buyer))
	return base64.RawURLEncoding.EncodeToString(b)
}

// valid reports whether the pass lets the buyer ask for a ticket of the sale now.
func (g *Guard) valid(pass string, sale seckill.SaleID, buyer string, now time.Time) bool {
	var room [passSize + 2]byte
	var about [8]byte
	if base64.RawURLEncoding.DecodedLen(len(pass)) != passSize {
		return false
	}
	b, err := strict.AppendDecode(room[:0], []byte(pass))
	if err != nil || len(b) != passSize || b[0] != passVersion {
		return false
	}
	from := time.UnixMilli(int64(binary.BigEndian.Uint64(b[1:])))
	until := time.UnixMilli(int64(binary.BigEndian.Uint64(b[9:])))
	if now.Before(from.Add(-leeway)) || !now.Before(until.Add(leeway)) {
		return false
	}
	binary.BigEndian.PutUint64(about[:], uint64(sale))
	return g.passes.signed(b[passHead:], b[:passHead], about[:], []byte(buyer))
}
