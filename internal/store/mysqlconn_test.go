package store

import (
	"bytes"
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// swallower is a way to a server on which one statement gets lost, as when the server hangs.
type swallower struct {
	url  string
	lost atomic.Pointer[loss] // the next one
}

// loss is a statement that gets lost, and then is what happens then.
type loss struct {
	statement string
	then      func()
}

// swallowing lends a database of MariaDB until the test is over.
func swallowing(t testing.TB) *swallower {
	t.Helper()
	direct := stacktest.Fresh(t, stacktest.Shared(t, stack.KindMariaDB))
	makeTables(t, direct)
	there, err := url.Parse(direct)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server, s := there.Host, new(swallower)
	there.Host = listener.Addr().String()
	s.url = there.String()
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", server)
			if err != nil {
				near.Close()
				continue
			}
			context.AfterFunc(ctx, func() { near.Close(); far.Close() })
			running.Go(func() { defer near.Close(); _, _ = io.Copy(near, far) })
			running.Go(func() { defer far.Close(); s.carry(far, near) })
		}
	})
	t.Cleanup(func() { stop(); listener.Close(); running.Wait() })
	return s
}

func (s *swallower) carry(to io.Writer, from io.Reader) {
	piece := make([]byte, 1<<16)
	for {
		n, err := from.Read(piece)
		if err != nil {
			return
		}
		if lost := s.lost.Load(); lost != nil && bytes.HasSuffix(piece[:n], []byte(lost.statement)) && s.lost.CompareAndSwap(lost, nil) {
			lost.then()
			continue
		}
		if _, err := to.Write(piece[:n]); err != nil {
			return
		}
	}
}

// Whoever goes away in the middle of a transaction leaves its connection to the next one.
func TestWhoGoesAwayCostsNoConnection(t *testing.T) {
	t.Parallel()
	database := stacktest.Fresh(t, stacktest.Shared(t, stack.KindMariaDB))
	makeTables(t, database)
	s := preparedMySQL(t, database)
	sale := aSale(t, s, 10)
	s.w.SetMaxOpenConns(1)
	connection := func() (id int) {
		require.NoError(t, s.w.QueryRowContext(t.Context(), "SELECT CONNECTION_ID()").Scan(&id))
		return id
	}
	first := connection()
	for range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := s.UpdateSale(ctx, sale.ID, func(v *seckill.Sale) error { v.Title = "another"; cancel(); return nil })
		require.Error(t, err)
	}
	require.Equal(t, first, connection())
	is, err := s.Sale(t.Context(), sale.ID)
	require.NoError(t, err)
	require.Equal(t, sale.Title, is.Title)
}

// ends is a connection on which the ends of transactions fail as told. Its other methods are nil.
type ends struct {
	serverConn
	fails map[string]error
	sent  []string
}

func (e *ends) ExecContext(ctx context.Context, statement string, _ []driver.NamedValue) (driver.Result, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	e.sent = append(e.sent, statement)
	return nil, e.fails[statement]
}

func (e *ends) Close() error { e.sent = append(e.sent, "close"); return nil }

// A connection is kept when its server has said that the transaction has ended, and closed when
// nobody knows.
func TestAConnectionIsKeptWhenItsTransactionHasEnded(t *testing.T) {
	t.Parallel()
	deadlock := &mysql.MySQLError{Number: errDeadlock}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		end   func(driver.Tx) error
		ctx   context.Context
		fails map[string]error
		sent  []string
	}{
		{driver.Tx.Commit, t.Context(), nil, []string{"COMMIT"}},
		{driver.Tx.Commit, t.Context(), map[string]error{"COMMIT": deadlock}, []string{"COMMIT", "ROLLBACK"}},
		{driver.Tx.Commit, t.Context(), map[string]error{"COMMIT": deadlock, "ROLLBACK": deadlock}, []string{"COMMIT", "ROLLBACK", "close"}},
		{driver.Tx.Commit, t.Context(), map[string]error{"COMMIT": io.ErrUnexpectedEOF}, []string{"COMMIT", "close"}},
		{driver.Tx.Rollback, t.Context(), nil, []string{"ROLLBACK"}},
		{driver.Tx.Rollback, over, nil, []string{"ROLLBACK"}},
		{driver.Tx.Rollback, t.Context(), map[string]error{"ROLLBACK": io.ErrUnexpectedEOF}, []string{"ROLLBACK", "close"}},
	} {
		conn := &ends{fails: c.fails}
		first := cmp.Or(c.fails["COMMIT"], c.fails["ROLLBACK"])
		require.Equal(t, first, c.end(boundTx{c.ctx, conn}))
		require.Equal(t, c.sent, conn.sent)
	}
}

// A server that hangs at the end of a transaction keeps nobody for longer than they wait. What
// became of the transaction is not known, its connection is closed, and the next caller gets
// another one.
func TestTheEndOfATransactionIsBounded(t *testing.T) {
	t.Parallel()
	w := swallowing(t)
	s := preparedMySQL(t, w.url)
	sale := aSale(t, s, 10)
	refused := errors.New("refused")
	for _, c := range []struct {
		lost  string
		write func(ctx context.Context) error
		want  error
	}{
		{"COMMIT", func(ctx context.Context) error {
			_, err := s.UpdateSale(ctx, sale.ID, func(v *seckill.Sale) error { v.Title = "another"; return nil })
			return err
		}, seckill.ErrUnavailable},
		{"ROLLBACK", func(ctx context.Context) error {
			_, err := s.UpdateSale(ctx, sale.ID, func(*seckill.Sale) error { return refused })
			return err
		}, refused},
		{"COMMIT", func(ctx context.Context) error { // of what reads
			_, err := s.Look(ctx, sale.ID, nil)
			return err
		}, seckill.ErrUnavailable},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		var began time.Time
		w.lost.Store(&loss{c.lost, func() { began = time.Now(); cancel() }}) // nobody waits any more
		err := c.write(ctx)
		require.ErrorIs(t, err, c.want, c.lost)
		require.Error(t, ctx.Err(), "it got lost")
		took := time.Since(began)
		require.Less(t, took, ioTimeout/2, c.lost)
		require.Zero(t, s.w.Stats().InUse+s.r.Stats().InUse, "no connection waits for the server")
		_, err = s.UpdateSale(t.Context(), sale.ID, func(v *seckill.Sale) error { v.Title = c.lost; return nil })
		require.NoError(t, err, "and the row is free")
	}
}
