package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"seckill/internal/rabbit"
)

func TestColoursAreForTerminalsThatWantThem(t *testing.T) {
	t.Parallel()
	exhibits := []rabbit.Exhibit{{
		Type: "direct", Use: "tickets", Bindings: []rabbit.Binding{{Queue: "a", Key: "x"}, {Queue: "b", Key: "y"}},
		Sent: []rabbit.Sending{{Key: "x", Received: []bool{true, false}, Why: []string{"it is", "it is not"}}},
	}}
	for _, c := range []struct {
		terminal bool
		noColor  string
		colours  bool
	}{{true, "", true}, {true, "1", false}, {true, "0", false}, {false, "", false}, {false, "1", false}} {
		out := showExhibits(exhibits, colourful(c.terminal, c.noColor))
		require.Equal(t, c.colours, strings.Contains(out, "\x1b["), "%+v", c)
		if c.colours {
			require.Contains(t, out, bold+"direct"+plain)
			require.Contains(t, out, green+"received    "+plain)
			require.Contains(t, out, red+"not received"+plain)
			out = strings.NewReplacer(bold, "", green, "", red, "", plain, "").Replace(out)
		}
		require.Equal(t, "direct (tickets)\n  queue a          bound with x\n  queue b          bound with y\n"+
			"  sent with key \"x\"\n    a           received      it is\n    b           not received  it is not\n", out)
	}
}
