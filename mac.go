package seckill

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"sync"
)

// MAC is HMAC-SHA256 with one key, for many goroutines at once. Setting up the hash for a
// key costs more than hashing, and a rush computes one for each request: so they are kept
// ready, each with a T, which is the room that its user works in, such as buffers.
type MAC[T any] struct{ ready sync.Pool }

// Desk is a MAC that is ready, from Take until Put.
type Desk[T any] struct {
	Room T

	hash hash.Hash
	sum  [sha256.Size]byte
}

// NewMAC returns the MAC of a key.
func NewMAC[T any](key []byte) *MAC[T] {
	m := &MAC[T]{}
	m.ready.New = func() any { return &Desk[T]{hash: hmac.New(sha256.New, key)} }
	return m
}

// Take returns a desk that nobody else uses. Its room is as somebody left it.
func (m *MAC[T]) Take() *Desk[T] { return m.ready.Get().(*Desk[T]) }

// Put gives the desk back.
func (m *MAC[T]) Put(d *Desk[T]) { m.ready.Put(d) }

// Sum is the MAC of a message, 32 bytes, until the next call or Put.
func (d *Desk[T]) Sum(message []byte) []byte {
	d.hash.Reset()
	d.hash.Write(message)
	return d.hash.Sum(d.sum[:0])
}
