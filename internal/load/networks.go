package load

import (
	"crypto/rand"
	"net/netip"
)

// networks are addresses of different networks for the buyers of one run, as a proxy that
// the server trusts tells them: of IPv6, since there a server counts a /64 as one, and in the
// range that is nobody's (RFC 4193). They begin with four random bytes, so two runs
// share none.
type networks [4]byte

func newNetworks() (n networks) {
	rand.Read(n[:])
	return n
}

// address is one of the n-th network, of 2^24.
func (b networks) address(n int) string {
	return netip.AddrFrom16([16]byte{0xfd, b[0], b[1], b[2], b[3], byte(n >> 16), byte(n >> 8), byte(n), 15: 1}).String()
}
