package api

import (
	"testing"
	"testing/synctest"
)

func TestBubble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		s.bought("x", s.open.ID, 1)
		s.world()
	})
}
func TestNoBubble(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.bought("x", s.open.ID, 1)
	s.unchanged(func(){})
}
