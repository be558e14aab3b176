package rabbit

import (
	"net"
	"sync"
	"time"
)

// patientConn is a connection whose writes have a deadline, which reads in large pieces, and
// which gathers writes while it is corked. The client library holds its locks while it
// writes. Without a deadline, a broker that has stopped reading would block the write for
// ever, and with it every method that could notice.
type patientConn struct {
	net.Conn
	patience time.Duration
	buffer   []byte // of reads
	unread   []byte // the part of buffer that Read has not returned yet

	mu      sync.Mutex
	corks   int
	unsent  []byte
	failure error // of a gathered write, for the next caller of Write
}

func newPatientConn(c net.Conn, patience time.Duration) *patientConn {
	return &patientConn{Conn: c, patience: patience, buffer: make([]byte, ioBuffer)}
}

// cork gathers what is written until uncork. The client library writes each message by
// itself, which costs a system call and a packet for each. Whoever waits for an answer
// while the connection is corked calls flush first.
func (c *patientConn) cork() {
	c.mu.Lock()
	c.corks++
	c.mu.Unlock()
}

func (c *patientConn) uncork() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.corks--
	c.flushLocked()
}

func (c *patientConn) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushLocked()
}

// flushLocked writes what was gathered. It returns no error: the next Write does, and the
// reader sees that the connection is closed.
func (c *patientConn) flushLocked() {
	if len(c.unsent) > 0 && c.failure == nil {
		if _, c.failure = c.write(c.unsent); c.failure != nil {
			c.Conn.Close()
		}
		c.unsent = c.unsent[:0]
	}
}

func (c *patientConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.corks > 0 {
		c.unsent = append(c.unsent, b...)
		if len(c.unsent) >= ioBuffer {
			c.flushLocked()
		}
		return len(b), c.failure
	}
	if c.failure != nil {
		return 0, c.failure
	}
	return c.write(b)
}

func (c *patientConn) write(b []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(c.patience)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// Read is called by one goroutine, the client's reader.
func (c *patientConn) Read(b []byte) (int, error) {
	if len(c.unread) == 0 {
		n, err := c.Conn.Read(c.buffer)
		if err != nil {
			return 0, err
		}
		c.unread = c.buffer[:n]
	}
	n := copy(b, c.unread)
	c.unread = c.unread[n:]
	return n, nil
}
