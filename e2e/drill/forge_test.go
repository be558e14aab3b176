package main

import (
	"encoding/json"

	"strconv"
	"strings"
	"testing"
	"time"

	"seckill"
	"seckill/e2e/node"
	"seckill/internal/stack/stacktest"
)

// Each forged message is no ticket, or is one that no gate has sealed: or the drill would
// wait for an alarm that need not ring.
func TestForgedMessagesAreNotGenuine(t *testing.T) {
	t.Parallel()
	seals, err := seckill.NewSeals(node.Secret)
	if err != nil {
		t.Fatal(err)
	}
	genuine := seckill.Ticket{ID: seckill.NewTicketID(time.Now()), Sale: 3, Buyer: "ann", Quantity: 2, Seq: 7, At: time.Now().UTC()}
	genuine.Seal = seals.Make(&genuine)
	for i := range 20 {
		var got seckill.Ticket
		if json.Unmarshal([]byte(forgedMessage(i, genuine, seals)), &got) == nil && got.Check() == nil && seals.Genuine(&got) {
			t.Errorf("the forged message %d is genuine: %+v", i, got)
		}
	}
	for i := range 14 {
		fields := forgedEntry(i, genuine, seals)
		f := strings.SplitN(fields[1], ",", 6)
		if len(fields) < 4 || len(f) != 6 || i%7 == 0 { // doubled: the seal is genuine, and the ticket there before
			continue
		}
		got := seckill.Ticket{ID: f[0], Sale: genuine.Sale, Buyer: f[5]}
		got.Quantity, _ = strconv.Atoi(f[2])
		if got.Seq, err = strconv.ParseInt(f[3], 10, 64); err != nil || got.Seq > seckill.MaxSeq {
			continue
		}
		seal, _, _ := strings.Cut(fields[3][1:], ",")
		if err := got.Seal.UnmarshalText([]byte(seal)); err != nil {
			t.Fatal(err)
		}
		if seals.Asked(got) {
			t.Errorf("the forged entry %d is genuine: %+v", i, got)
		}
	}
}

// A node that finds forged rows in its journal puts each aside.
func TestForgedRowsAreKeptAside(t *testing.T) {
	t.Parallel()
	c := node.Config{Binary: built(t, plainBinary), Dir: t.TempDir(), Log: stacktest.Log(t, "the node")}
	if rows, err := forgeJournal(t.Context(), c.Dir); err != nil || rows != nil {
		t.Fatalf("in a folder without a journal: %v, %v", rows, err)
	}
	life := func() *node.Node {
		n, err := node.Start(c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(n.Kill)
		if err := n.Ready(); err != nil {
			t.Fatal(err)
		}
		return n
	}
	life().Kill()
	rows, err := forgeJournal(t.Context(), c.Dir)
	if err != nil || len(rows) != forgedEach {
		t.Fatalf("%d rows are forged: %v", len(rows), err)
	}
	if err := keptAside(t.Context(), c.Dir, rows); err == nil {
		t.Error("rows that no node has seen are said to be put aside")
	}
	n := life()
	alarmed, err := n.Metric(t.Context(), `seckill_aside_total{where="journal"}`)
	if err != nil || int(alarmed) < len(rows) {
		t.Errorf("the alarm counted %v of %d, %v", alarmed, len(rows), err)
	}
	if err := n.Stop(); err != nil {
		t.Error(err)
	}
	if err := keptAside(t.Context(), c.Dir, rows); err != nil {
		t.Error(err)
	}
}
