package rabbit

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"

	amqp "github.com/rabbitmq/amqp091-go"

	"seckill/internal/ca"
)

const (
	ioBuffer  = 64 << 10  // bytes; the client's own is 4 KB, a system call for every dozen tickets
	frameSize = 128 << 10 // bytes, RabbitMQ's own
)

// dial connects and logs in; the broker shows the purpose as part of the connection's name.
// It tries each address of a cluster once, beginning with number next, and leaves in next
// the number of the address with which the following call is to begin.
func (set Settings) dial(ctx context.Context, purpose string, next *int) (raw *patientConn, conn *amqp.Connection, err error) {
	addrs := set.addrs()
	var errs []error
	for range addrs {
		addr := addrs[*next%len(addrs)]
		*next++
		if raw, conn, err = set.dialAt(ctx, addr, purpose); err == nil || ctx.Err() != nil {
			return raw, conn, err
		}
		errs = append(errs, fmt.Errorf("%s: %w", addr, err))
	}
	if len(errs) > 1 {
		err = errors.Join(errs...)
	}
	return nil, nil, err
}

// secure puts TLS on a new connection to addr.
func (set Settings) secure(ctx context.Context, raw net.Conn, addr string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(addr)
	c, err := ca.TLS(set.CAFile, host)
	if err == nil {
		secured := tls.Client(raw, c)
		if err = secured.HandshakeContext(ctx); err == nil {
			return secured, nil
		}
		err = fmt.Errorf("TLS with RabbitMQ at %s: %w (check rabbitmq.ca_file and the port: %d is the usual one with TLS)", addr, err, tlsPort)
	}
	raw.Close()
	return nil, err
}

func (set Settings) dialAt(ctx context.Context, addr, purpose string) (*patientConn, *amqp.Connection, error) {
	ctx, cancel := context.WithTimeout(ctx, set.ConnectTimeout)
	defer cancel()
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	if set.TLS {
		if raw, err = set.secure(ctx, raw, addr); err != nil {
			return nil, nil, err
		}
	}
	host, _ := os.Hostname()
	abort := context.AfterFunc(ctx, func() { raw.Close() })
	// The client library's own recovery stays off: a recovered channel counts its deliveries
	// from 1 again, so a late acknowledgement of the old channel would acknowledge tickets
	// that nobody has settled.
	patient := newPatientConn(raw, set.ConfirmTimeout)
	conn, err := amqp.Open(patient, amqp.Config{
		SASL:  []amqp.Authentication{&amqp.PlainAuth{Username: set.Username, Password: string(set.Password)}},
		Vhost: set.VirtualHost, Heartbeat: set.Heartbeat, FrameSize: frameSize, ChannelMax: 2 * maxListeners, Locale: "en_US",
		Properties: amqp.Table{"product": "seckill", "connection_name": fmt.Sprintf("seckill %s %s/%d", purpose, host, os.Getpid())},
	})
	if !abort() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		raw.Close()
	}
	return patient, conn, err
}
