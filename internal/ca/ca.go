// Package ca reads the certificates of those who sign for an engine's certificate:
// Redis, RabbitMQ and MariaDB/MySQL may have a CA of their own. It stands beside
// the stages that connect to an engine.
package ca

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// TLS is what a connection to the server of that name checks: a certificate for
// the name, signed by one of the CAs in file (PEM), or by one that this machine
// trusts if file is empty.
func TLS(file, server string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: server}
	if file == "" {
		return c, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)", file)
	}
	return c, nil
}
