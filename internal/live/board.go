package live

import (
	"context"
	"sync"
)

// Board is where nodes tell one another about themselves.
type Board interface {
	// Tell MUST replace what the node has told before; no text says that it stops.
	Tell(ctx context.Context, node string, text []byte) error
	// Hear MUST return what every node has told last, for Life at least.
	Hear(ctx context.Context) (map[string][]byte, error)
}

// OneNode is the board of a node that has no others.
type OneNode struct {
	mu   sync.Mutex
	told map[string][]byte
}

// NewOneNode returns an empty board.
func NewOneNode() *OneNode { return &OneNode{told: map[string][]byte{}} }

// Tell keeps the node's text.
func (a *OneNode) Tell(_ context.Context, node string, text []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.told[node] = text; text == nil {
		delete(a.told, node)
	}
	return nil
}

// Hear returns all texts.
func (a *OneNode) Hear(context.Context) (map[string][]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make(map[string][]byte, len(a.told))
	for node, text := range a.told {
		all[node] = text
	}
	return all, nil
}
