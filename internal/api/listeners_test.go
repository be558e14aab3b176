package api

import (
	"testing"

	"github.com/stretchr/testify/require"
)

type listeners struct{ running bool }

func (l *listeners) StartListeners()        { l.running = true }
func (l *listeners) StopListeners()         { l.running = false }
func (l *listeners) ListenersRunning() bool { return l.running }

func TestListenersAreStartedAndStopped(t *testing.T) {
	t.Parallel()
	l := &listeners{}
	s := newSystem(t, func(c *Config) { c.Listeners = l })
	for _, c := range []struct {
		path    string
		running bool
	}{{"start", true}, {"start", true}, {"stop", false}, {"stop", false}, {"start", true}} {
		a := s.admin("POST", "/api/admin/listeners/"+c.path, "").is(200)
		require.JSONEq(t, map[bool]string{true: `{"running":true}`, false: `{"running":false}`}[c.running], string(a.body))
		require.Equal(t, c.running, l.running)
	}
}

func TestTheEmbeddedQueueHasNoListeners(t *testing.T) {
	t.Parallel()
	s := newSystem(t, func(c *Config) { c.Listeners = nil })
	for _, path := range []string{"start", "stop"} {
		require.Contains(t, string(s.admin("POST", "/api/admin/listeners/"+path, "").is(409).body), `"code":"state"`)
	}
}
