package stack

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
)

// Free ports are taken from below the range that the kernel gives to outgoing
// connections. From inside it, while an engine is down, somebody's connection
// could get the engine's port as its own end; worse, a client that reconnects to
// a port without a listener could be connected to itself.
const (
	freePortMin   = 10000
	freePortMax   = 31999 // Linux gives out 32768 and up
	freePortTries = 1000
)

// port on 127.0.0.1 that no other process with this package takes, even while
// nothing listens there.
type port struct {
	number int
	// claim is an abstract Unix socket named after the port. The kernel removes
	// it when the process ends, however it ends.
	claim net.Listener
}

var errClaimed = errors.New("somebody else has it")

// reserve takes a port, or a free one if number is 0.
func reserve(number int) (*port, error) {
	if number != 0 {
		return claim(number)
	}
	max := freePortMax
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		var low int
		if _, err := fmt.Sscan(string(b), &low); err == nil && low > freePortMin {
			max = min(max, low-1)
		}
	}
	var last error
	for range freePortTries {
		p, err := claim(freePortMin + rand.IntN(max-freePortMin+1))
		if err == nil {
			return p, nil
		}
		last = err
	}
	return nil, fmt.Errorf("none is free: %w", last)
}

func claim(number int) (*port, error) {
	if number < 1 || number > 65535 {
		return nil, fmt.Errorf("%d is not within 1 to 65535", number)
	}
	l, err := net.Listen("unix", "@seckill-stack-"+strconv.Itoa(number))
	if err != nil {
		return nil, fmt.Errorf("%d: %w", number, errClaimed)
	}
	p := &port{number, l}
	if err := p.vacant(); err != nil {
		p.release()
		return nil, err
	}
	return p, nil
}

// vacant reports whether a server can listen on the port.
func (p *port) vacant() error {
	l, err := net.Listen("tcp4", net.JoinHostPort(loopback, strconv.Itoa(p.number)))
	if err != nil {
		return fmt.Errorf("%d is taken: %w", p.number, err)
	}
	return l.Close()
}

func (p *port) release() { p.claim.Close() }

// addresses are the ports that Address gave away: the kernel would free one that
// nothing here refers to any more.
var addresses struct {
	sync.Mutex
	ports []*port
}

// Address returns an address of this machine for a server that is about to start: no
// process takes its port with this package until this one ends, also while the server
// is down.
func Address() (string, error) {
	p, err := reserve(0)
	if err != nil {
		return "", fmt.Errorf("stack: a port for a server: %w", err)
	}
	addresses.Lock()
	defer addresses.Unlock()
	addresses.ports = append(addresses.ports, p)
	return net.JoinHostPort(loopback, strconv.Itoa(p.number)), nil
}
