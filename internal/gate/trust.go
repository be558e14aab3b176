package gate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"seckill"
)

// trust is what the gate checks the tickets in its own storage by. With the zero value it
// takes every ticket that it can read.
type trust struct {
	seals *seckill.Seals
	log   *slog.Logger
}

// Option of a gate.
type Option func(*trust)

// Sealed makes the gate seal the tickets that it admits, and put aside what it finds in
// its journal without a seal of its own. log hears of each.
func Sealed(seals *seckill.Seals, log *slog.Logger) Option {
	return func(t *trust) { t.seals, t.log = seals, log }
}

// OldestOpts describe the gauge by which an alarm tells an outbox that stands still.
var OldestOpts = prometheus.GaugeOpts{Name: "seckill_pending_oldest_seconds", Help: "How long the oldest admitted ticket has waited for its outcome; 0 when none waits."}

// NewAside makes the counter of what was put aside because it could not be read, or
// was not made by the gate: an alarm asks for its increase. where is what it was in.
func NewAside(where string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: "seckill_aside_total", ConstLabels: prometheus.Labels{"where": where},
		Help: "Entries that could not be read, or were not made by the gate, and were put aside, by where they were: journal, outbox, holds, stops, keys (of Redis) or store."})
}

// journalForm is the version of the journal's rows: from the second one on every ticket
// has a seal, from the third one on the version of its sale. SQLite keeps it as the file's
// user_version: so a program that cannot read a form leaves the file as it is.
const (
	journalForm = 3
	sealedForm  = 2
)

// errSealed says that the journal was written with a secret that is not accepted.
var errSealed = errors.New("its tickets were sealed with another auth.secret: set auth.previous_secret to that one until they are settled")

// damage is a part of a row that is not a ticket of the gate, and why.
type damage struct {
	bytes []byte
	why   error
}

// read reads all rows, in a transaction that could write: with it the file is locked
// for this process until it is closed, reading alone would not do.
//
// What cannot be read, has no genuine seal or is there twice is moved to the table
// aside, where a person finds it; everything else goes on. Rows of the first form,
// which an earlier version has written, have no seals: they are believed once, and
// written again with them.
func (j *journal) read(ctx context.Context, db *sql.DB) (live map[int64]*segment, seq int64, err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return nil, 0, err
	}
	defer tx.Rollback()
	for _, q := range []string{
		"CREATE TABLE IF NOT EXISTS journal (seq INTEGER PRIMARY KEY, tickets BLOB NOT NULL)",
		"CREATE TABLE IF NOT EXISTS aside (seq INTEGER NOT NULL, bytes BLOB NOT NULL, why TEXT NOT NULL, at TEXT NOT NULL)",
		"CREATE TABLE IF NOT EXISTS secret (print TEXT NOT NULL)",
	} {
		if _, err := tx.ExecContext(ctx, q); err != nil {
			return nil, 0, err
		}
	}
	var form int
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&form); err != nil {
		return nil, 0, err
	}
	if form > journalForm {
		return nil, 0, fmt.Errorf("it was written by a newer version, in form %d: use that version", form)
	}
	sealed, err := j.secret(ctx, tx)
	if err != nil {
		return nil, 0, err
	}
	rows, err := tx.QueryContext(ctx, "SELECT seq, tickets FROM journal ORDER BY seq")
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	live = map[int64]*segment{}
	seen := map[string]bool{}
	damaged, rewrite := map[int64][]damage{}, map[int64]bool{}
	for rows.Next() {
		var row []byte
		s := &segment{done: make(chan struct{})}
		close(s.done)
		if err := rows.Scan(&s.seq, &row); err != nil {
			return nil, 0, err
		}
		tickets, bad := decodeRow(row)
		for _, t := range tickets {
			switch {
			case seen[t.ID]:
				bad = append(bad, damage{encodeRow([]seckill.Ticket{t}), errors.New("the ticket is there twice")})
				continue
			case j.trust.seals == nil:
			case form < sealedForm:
				t.Seal, rewrite[s.seq] = j.trust.seals.Make(&t), true
			case !sealed:
				return nil, 0, errSealed
			case !j.trust.seals.Genuine(&t):
				bad = append(bad, damage{encodeRow([]seckill.Ticket{t}), errors.New("the ticket has no seal of the gate")})
				continue
			}
			seen[t.ID] = true
			s.tickets = append(s.tickets, t)
		}
		if len(bad) > 0 {
			damaged[s.seq], rewrite[s.seq] = bad, true
		}
		if s.waiting = len(s.tickets); s.waiting > 0 {
			live[s.seq], seq = s, s.seq // a row that is put aside whole leaves no number behind
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, 0, err
	}
	for row := range rewrite {
		if err := j.rewrite(ctx, tx, row, live[row], damaged[row]); err != nil {
			return nil, 0, err
		}
	}
	var kept int64
	if err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM aside").Scan(&kept); err != nil {
		return nil, 0, err
	}
	if j.trust.seals != nil {
		if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", journalForm)); err != nil {
			return nil, 0, err
		}
	}
	if err := tx.Commit(); err != nil {
		return nil, 0, err
	}
	j.kept.Store(kept)
	for row, bad := range damaged {
		for _, d := range bad {
			j.aside.Inc()
			if j.trust.log != nil {
				j.trust.log.Error("gate: a part of the journal is put aside, into its table aside", "file", j.file, "row", row, "bytes", len(d.bytes), "error", d.why)
			}
		}
	}
	return live, seq, nil
}

// secret notes which secret the journal is written with from now on, and tells
// whether the one before is accepted.
func (j *journal) secret(ctx context.Context, tx *sql.Tx) (accepted bool, err error) {
	if j.trust.seals == nil {
		return true, nil
	}
	prints := j.trust.seals.Prints()
	var before string
	if err := tx.QueryRowContext(ctx, "SELECT print FROM secret").Scan(&before); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return false, err
	}
	if before != prints[0] {
		for _, q := range []string{"DELETE FROM secret", "INSERT INTO secret (print) VALUES (?1)"} {
			if _, err := tx.ExecContext(ctx, q, prints[0]); err != nil {
				return false, err
			}
		}
	}
	return before == "" || slices.Contains(prints, before), nil
}

// rewrite replaces a row by what is good of it, nil for nothing, and keeps the rest aside.
func (j *journal) rewrite(ctx context.Context, tx *sql.Tx, row int64, good *segment, bad []damage) error {
	for _, d := range bad {
		if _, err := tx.ExecContext(ctx, "INSERT INTO aside (seq, bytes, why, at) VALUES (?, ?, ?, ?)", row, d.bytes, d.why.Error(), time.Now().UTC().Format(time.RFC3339)); err != nil {
			return err
		}
	}
	if good == nil {
		_, err := tx.ExecContext(ctx, "DELETE FROM journal WHERE seq = ?", row)
		return err
	}
	_, err := tx.ExecContext(ctx, "UPDATE journal SET tickets = ? WHERE seq = ?", encodeRow(good.tickets), row)
	return err
}

// decodeRow reads the tickets of one row. What is damaged is returned apart: one
// ticket of the second form, or all that follows where nobody can tell where the
// next one begins.
func decodeRow(row []byte) (tickets []seckill.Ticket, bad []damage) {
	for first := true; first || len(row) > 0; first = false {
		t, rest, err := seckill.CutTicket(row)
		if err != nil {
			bad = append(bad, damage{row[:len(row)-len(rest)], err})
		} else {
			tickets = append(tickets, t)
		}
		row = rest
	}
	return tickets, bad
}
