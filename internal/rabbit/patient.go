package rabbit

import (
	"net"
	"sync"
	"time"
)

// patientConn bounds every write, reads in large pieces, and writes in large pieces
// while it is held. A write without deadline to a broker that has stopped
// reading would hold the client's locks for ever, and with them everything that
// could notice.
type patientConn struct {
	net.Conn
	patience time.Duration
	buffer   []byte // of reads
	unread   []byte // the rest of it

	mu      sync.Mutex
	holds   int
	unsent  []byte
	failure error // of a write whose writer has left
}

func newPatientConn(c net.Conn, patience time.Duration) *patientConn {
	return &patientConn{Conn: c, patience: patience, buffer: make([]byte, ioBuffer)}
}

// hold gathers what is written until release. The client sends every message on
// its own, a system call and a packet for each. While a connection is held,
// flush before waiting for an answer.
func (c *patientConn) hold() {
	c.mu.Lock()
	c.holds++
	c.mu.Unlock()
}

func (c *patientConn) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holds--
	c.flushLocked()
}

func (c *patientConn) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushLocked()
}

// flushLocked writes what was gathered. Nobody looks at its error: the next
// write has it, and the reader sees the connection closed.
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
	if c.holds > 0 {
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
