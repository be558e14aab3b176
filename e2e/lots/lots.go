// Package lots lets many draw lots of one seed.
package lots

import (
	"math/rand/v2"
	"sync"
)

// New is for any number of goroutines. Which of them draws which lot the seed does not decide.
func New(seed uint64) *rand.Rand { return rand.New(&source{pcg: rand.NewPCG(seed, 0)}) }

type source struct {
	mu  sync.Mutex
	pcg *rand.PCG
}

func (s *source) Uint64() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pcg.Uint64()
}
