package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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
	there, err := url.Parse(stacktest.Fresh(t, stacktest.Shared(t, stack.KindMariaDB)))
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
