package access

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"

	"seckill"
)

// leeway is how far the clocks of two nodes may be apart before a pass of the one is
// refused by the other. It is twice what nodes are allowed to differ by.
const leeway = 2 * time.Second

// The form of a pass, before base64url: its version, what was paid for it, when it was
// made and until when it holds (milliseconds since 1970), and the MAC of these, the sale
// and the buyer. The first version does not say what was paid: nothing, then.
const (
	passVersion = 2
	passHead    = 1 + 1 + 8 + 8
	passSize    = passHead + macSize

	unpaidVersion = 1
	unpaidSize    = passSize - 1
)

// macSize is the size of a MAC in bytes.
const macSize = sha256.Size

// paid is what a pass has cost, a bit for each part of a challenge. A sale may ask for
// more later, and then the pass is not enough.
type paid byte

const (
	paidFormula paid = 1 << iota
	paidWork
)

// priceOf is what a challenge of that kind costs.
func priceOf(kind seckill.Challenge) (p paid) {
	if kind.Formula() {
		p |= paidFormula
	}
	if kind.Work() {
		p |= paidWork
	}
	return p
}

// strict is how passes are written: one way only.
var strict = base64.RawURLEncoding.Strict()

// sign makes a pass that was paid for, and holds from now on until the given time.
func (g *Guard) sign(sale seckill.SaleID, buyer string, p paid, now, until time.Time) string {
	b := make([]byte, 0, passSize)
	b = append(b, passVersion, byte(p))
	b = binary.BigEndian.AppendUint64(b, uint64(now.UnixMilli()))
	b = binary.BigEndian.AppendUint64(b, uint64(until.UnixMilli()))
	b = g.passes[0].sum(b, b, binary.BigEndian.AppendUint64(nil, uint64(sale)), []byte(buyer))
	return base64.RawURLEncoding.EncodeToString(b)
}

// valid reports whether the pass lets the buyer ask for a ticket of the sale now, where
// the sale asks for that price.
func (g *Guard) valid(pass string, sale seckill.SaleID, buyer string, price paid, now time.Time) bool {
	var room [passSize + 2]byte
	var about [8]byte
	if size := base64.RawURLEncoding.DecodedLen(len(pass)); size != passSize && size != unpaidSize {
		return false
	}
	b, err := strict.AppendDecode(room[:0], []byte(pass))
	if err != nil {
		return false
	}
	var p paid
	switch {
	case len(b) == passSize && b[0] == passVersion:
		p = paid(b[1])
	case len(b) != unpaidSize || b[0] != unpaidVersion:
		return false
	}
	if price&^p != 0 {
		return false
	}
	head, mac := b[:len(b)-macSize], b[len(b)-macSize:]
	until := time.UnixMilli(int64(binary.BigEndian.Uint64(head[len(head)-8:])))
	from := time.UnixMilli(int64(binary.BigEndian.Uint64(head[len(head)-16:])))
	if now.Before(from.Add(-leeway)) || !now.Before(until.Add(leeway)) {
		return false
	}
	binary.BigEndian.PutUint64(about[:], uint64(sale))
	return g.passes.signed(mac, head, about[:], []byte(buyer))
}
