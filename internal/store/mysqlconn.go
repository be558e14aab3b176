package store

import (
	"context"
	"database/sql/driver"
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

// boundTx is a transaction of a boundConn. When its end fails nobody knows whether it has
// ended: the connection is closed, and with it the server ends what has not.
type boundTx struct {
	ctx  context.Context
	conn serverConn
}

// Commit is part of driver.Tx.
func (t boundTx) Commit() error { return t.end("COMMIT") }

// Rollback is part of driver.Tx.
func (t boundTx) Rollback() error { return t.end("ROLLBACK") }

func (t boundTx) end(statement string) error {
	_, err := t.conn.ExecContext(t.ctx, statement, nil)
	if err != nil {
		t.conn.Close()
	}
	return err
}
