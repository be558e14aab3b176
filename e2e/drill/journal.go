package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the journal's database

	"seckill"
)

const (
	forgedRows = "rows of the journal that were forged or damaged, each counted by an alarm"
	forgedEach = 25 // in each round, while the node is dead
)

// openGate opens the journal of a node that does not run; nil if there is none yet.
func openGate(dir string) (*sql.DB, error) {
	file := filepath.Join(dir, "gate.db")
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(2000)")
}

// forgeJournal writes rows that no gate has written into the journal of a dead node, and
// returns their numbers: what is no ticket, tickets without a seal, far behind the last
// one, doubled, and cut.
func forgeJournal(ctx context.Context, dir string) (rows []int64, err error) {
	db, err := openGate(dir)
	if db == nil {
		return nil, err
	}
	defer db.Close()
	var genuine []byte
	var last int64
	err = db.QueryRowContext(ctx, "SELECT seq, tickets FROM journal ORDER BY seq DESC LIMIT 1").Scan(&last, &genuine)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	now := time.Now()
	for i := range forgedEach {
		row := last + 1 + int64(i)
		t := seckill.Ticket{ID: seckill.NewTicketID(now), Sale: 1, Buyer: fmt.Sprint("forger ", i), Quantity: 1, Seq: int64(i), At: now}
		var bytes []byte
		switch i % 5 {
		case 0:
			bytes = []byte("no ticket")
		case 1:
			bytes, _ = t.AppendBinary(nil) // never fails
		case 2: // far out of range
			row, t.Seq = math.MaxInt64-int64(i), seckill.MaxSeq+1
			bytes, _ = t.AppendBinary(nil)
		case 3:
			bytes = append([]byte{0xff}, genuine...)
		case 4:
			bytes = append(genuine[:len(genuine):len(genuine)], "cut"...)
		}
		if _, err := db.ExecContext(ctx, "INSERT INTO journal (seq, tickets) VALUES (?, ?)", row, bytes); err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// keptAside checks that a node which has ended has kept something aside of every row.
func keptAside(ctx context.Context, dir string, rows []int64) error {
	db, err := openGate(dir)
	if db == nil {
		return err
	}
	defer db.Close()
	for _, row := range rows {
		var n int
		if err := db.QueryRowContext(ctx, "SELECT count(*) FROM aside WHERE seq = ?", row).Scan(&n); err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("the forged row %d of the journal was not put aside", row)
		}
	}
	return nil
}
