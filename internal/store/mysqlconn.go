package store

import (
	"context"
	"database/sql/driver"
	"time"
)

// serverConn is what the driver's connections are.
type serverConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
	driver.NamedValueChecker
}

// boundConn is a connection whose transactions end within the time of whoever began them. The
// driver's own obey no context at their end: while the server hangs, they wait for ioTimeout.
type boundConn struct{ serverConn }

// BeginTx is part of driver.ConnBeginTx.
func (c boundConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if _, err := c.serverConn.BeginTx(ctx, opts); err != nil {
		return nil, err
	}
	return boundTx{ctx, c.serverConn}, nil
}

// rollbackTime is how long a ROLLBACK may take when the time of whoever began the transaction is
// over. It is one packet each way, and costs less than the new connection that it saves.
const rollbackTime = time.Second

// boundTx is a transaction of a boundConn. When its end fails and nobody knows whether it has
// ended, the connection is closed, and with it the server ends what has not.
type boundTx struct {
	ctx  context.Context
	conn serverConn
}

// Commit is part of driver.Tx. When the server answers that it has not committed, as after a
// deadlock, the connection stays: the ROLLBACK ends what the server may have left.
func (t boundTx) Commit() error {
	_, err := t.conn.ExecContext(t.ctx, "COMMIT", nil)
	if number(err) != 0 {
		_ = t.Rollback()
	} else if err != nil {
		t.conn.Close()
	}
	return err
}

// Rollback is part of driver.Tx.
func (t boundTx) Rollback() error {
	ctx, cancel := t.ctx, context.CancelFunc(func() {})
	if ctx.Err() != nil {
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), rollbackTime)
	}
	defer cancel()
	_, err := t.conn.ExecContext(ctx, "ROLLBACK", nil)
	if err != nil {
		t.conn.Close()
	}
	return err
}
