package node

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"

	"seckill"
)

// EverybodysSeal is the seal of a ticket without a version, made with the key that is derived
// from an empty secret, which everybody can derive: nodes must not accept it.
func EverybodysSeal(t seckill.Ticket) (s seckill.Seal) {
	key, err := hkdf.Key(sha256.New, nil, nil, "seckill ticket seal", sha256.Size)
	if err != nil {
		panic(err) // of a hash that does not exist
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(t.ID))
	for _, n := range []uint64{uint64(t.Sale), uint64(t.Quantity), uint64(t.Seq), uint64(t.At.UnixMilli())} {
		mac.Write(binary.BigEndian.AppendUint64(nil, n))
	}
	mac.Write([]byte(t.Buyer))
	copy(s[:], mac.Sum(nil))
	return s
}
