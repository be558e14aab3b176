package store

import (
	"database/sql"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"seckill/internal/ca/catest"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// mysql.ca_file means TLS, with a certificate that is checked, whatever tls= says.
func TestAnOwnCAMeansTLSThatIsChecked(t *testing.T) {
	t.Parallel()
	_, _, err := mysqlConfig("mysql://a:b@db:3306/shop?ca=/nowhere.pem")
	require.ErrorContains(t, err, "mysql.ca_file")
	file := catest.New(t).CA
	for _, more := range []string{"", "&tls=preferred", "&tls=skip-verify"} {
		c, _, err := mysqlConfig("mysql://a:b@db:3306/shop?ca=" + url.QueryEscape(file) + more)
		require.NoError(t, err)
		require.NotNil(t, c.TLS, more)
		require.Equal(t, "db", c.TLS.ServerName)
		require.False(t, c.TLS.InsecureSkipVerify)
		require.False(t, c.AllowFallbackToPlaintext)
	}
}

// A MariaDB whose certificate is signed by a CA of one's own is reached with
// mysql.ca_file, over TLS, and not with another CA.
func TestMariaDBWithACAOfItsOwn(t *testing.T) {
	t.Parallel()
	files := catest.New(t)
	e := stacktest.Own(t, stack.KindMariaDB, stack.TLS(files.Certificate, files.Key))
	s := preparedMySQL(t, e.URL()+"?ca="+url.QueryEscape(files.CA))
	aSale(t, s, 10)
	for _, db := range []*sql.DB{s.w, s.r} {
		var name, cipher string
		require.NoError(t, db.QueryRowContext(t.Context(), "SHOW STATUS LIKE 'Ssl_cipher'").Scan(&name, &cipher))
		require.NotEmpty(t, cipher, "the connection is encrypted")
	}
	strange, err := Open(t.Context(), e.URL()+"?ca="+url.QueryEscape(catest.New(t).CA), Settings{})
	require.NoError(t, err)
	t.Cleanup(func() { strange.Close() })
	require.ErrorContains(t, strange.Prepare(t.Context()), "certificate signed by unknown authority")
}

// Of the connections that a node may have half write and half read.
func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	for most, each := range map[int]int{0: connsMost / 2, 10: 5} {
		s, err := Open(t.Context(), "mysql://u:p@127.0.0.1:1/db", Settings{Connections: most})
		require.NoError(t, err)
		t.Cleanup(func() { s.Close() })
		require.Equal(t, []int{each, each}, []int{s.w.Stats().MaxOpenConnections, s.r.Stats().MaxOpenConnections})
	}
}
