package seckill

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"sync"
)

// MAC is HMAC-SHA256 with one key, for many goroutines at once. Setting up the hash for a
// key costs more than hashing, and a rush computes one for each request: so they are kept
// ready, each with a T for what its user works with, such as buffers.
type MAC[T any] struct{ ready sync.Pool }

// Scratch is a MAC that is ready, from Take until Put.
type Scratch[T any] struct {
	Buf T // as the last user left it

	hash hash.Hash
	sum  [sha256.Size]byte
}

// NewMAC returns the MAC of a key.
func NewMAC[T any](key []byte) *MAC[T] {
	m := &MAC[T]{}
	m.ready.New = func() any { return &Scratch[T]{hash: hmac.New(sha256.New, key)} }
	return m
}

// Take returns a scratch that nobody else uses. Its Buf is as somebody left it.
func (m *MAC[T]) Take() *Scratch[T] { return m.ready.Get().(*Scratch[T]) }

// Put gives the scratch back.
func (m *MAC[T]) Put(d *Scratch[T]) { m.ready.Put(d) }

// Sum is the MAC of a message, 32 bytes, until the next call or Put.
func (d *Scratch[T]) Sum(message []byte) []byte {
	d.hash.Reset()
	d.hash.Write(message)
	return d.hash.Sum(d.sum[:0])
}
