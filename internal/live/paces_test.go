package live

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

// A hub remembers how long admissions and outcomes took, step by step; of a long sale the
// steps become longer, and of many sales the ones in which nothing happens go.
func TestANodeRemembersThePaceOfItsSales(t *testing.T) {
	t.Parallel()
	tally, hub := NewTally(), &Hub{}
	at := time.Date(2026, 11, 11, 12, 0, 0, 0, time.UTC)
	settle := func(id seckill.SaleID, took time.Duration) {
		tally.Settled([]seckill.Outcome{{Ticket: seckill.Ticket{Sale: id, At: at}}}, at.Add(took))
	}
	read := func(id seckill.SaleID, now time.Time) {
		f := Figures{Sale: id}
		tally.read(id, &f)
		hub.past.count([]Message{{Node: Node{ID: "this"}, At: now, Sales: []Figures{f}}}, "this")
	}
	tally.Add(1)
	read(1, at)
	require.Empty(t, hub.Paces(1), "nothing has happened")

	tally.Admitted(1, 2*time.Millisecond)
	read(1, at)
	tally.Admitted(1, 8*time.Millisecond)
	read(1, at.Add(500*time.Millisecond))
	settle(1, time.Second)
	read(1, at.Add(3*time.Second))
	read(1, at.Add(4*time.Second))
	all := hub.Paces(1)
	require.Len(t, all, 2, "the same second, and one later; a step without anything is left out")
	require.Equal(t, at, all[0].At)
	require.InDelta(t, 2, all[0].Admission.P50, 0.5)
	require.InDelta(t, 8, all[0].Admission.Max, 2)
	require.Nil(t, all[0].Outcome)
	require.Nil(t, all[1].Admission)
	require.InDelta(t, 1000, all[1].Outcome.P99, 250)

	for i := range 3 * paceSteps {
		tally.Admitted(1, time.Millisecond)
		read(1, at.Add(time.Duration(i+5)*time.Second))
	}
	all = hub.Paces(1)
	require.LessOrEqual(t, len(all), paceSteps)
	require.Greater(t, len(all), paceSteps/3)
	require.Equal(t, 4*time.Second, all[0].Width)
	require.Equal(t, at, all[0].At)
	require.InDelta(t, 8, all[0].Admission.Max, 2, "nothing is lost when steps become longer")

	for id := range seckill.SaleID(paceSales) {
		tally.Add(id + 2)
		tally.Admitted(id+2, time.Millisecond)
		read(id+2, at.Add(time.Hour))
	}
	require.Empty(t, hub.Paces(1))
	require.Len(t, hub.Paces(2), 1)
	require.Len(t, hub.past.paces.of, paceSales)
}
