package stack

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	osuser "os/user"
	"strings"

	"github.com/go-sql-driver/mysql"
)

const (
	mariaServer      = "/usr/sbin/mariadbd"
	mariaDatabase    = "seckill"
	mariaBufferPool  = "256M"
	mariaRedoLog     = "96M"
	mariaConnections = 600 // of several nodes with 32 each, and of the tests that share one
)

// mariadb commits to the disk (innodb_flush_log_at_trx_commit and sync_binlog
// both 1): what the store promises.
var mariadb = &spec{
	kind: KindMariaDB,
	apt:  "mariadb-server",
	files: [][]string{ // the server, and the scripts of a new database in their order
		{mariaServer},
		mariaScript("system_tables.sql"),
		mariaScript("performance_tables.sql"),
		mariaScript("system_tables_data.sql"),
	},
	ports: []string{"client"},
	admin: "root",
	url: func(e *Engine, user, password string) string {
		return engineURL("mysql", user, password, e.Addr(), mariaDatabase)
	},
	prepare: func(ctx context.Context, e *Engine) error {
		if err := errors.Join(e.mariaConfig("mariadb.cnf", e.path(dataFolder, "db")), os.MkdirAll(e.path(dataFolder, "tmp"), 0o700)); err != nil {
			return err
		}
		if _, err := os.Stat(e.path(dataFolder, "db")); !errors.Is(err, os.ErrNotExist) {
			return err
		}
		// Made elsewhere and renamed: there is never half a database.
		making := e.path(dataFolder, "making")
		if err := os.RemoveAll(making); err != nil {
			return err
		}
		if err := e.mariaBootstrap(ctx, making); err != nil {
			return fmt.Errorf("a new database: %w", err)
		}
		return os.Rename(making, e.path(dataFolder, "db"))
	},
	command: func(e *Engine) *exec.Cmd {
		cmd := exec.Command(mariaServer, "--defaults-file="+e.path("mariadb.cnf"))
		cmd.Env = environment(e.folder.path)
		return cmd
	},
	ready: func(ctx context.Context, e *Engine) error {
		return mariaExec(ctx, e.URL(), "DO 1")
	},
	namespace: func(ctx context.Context, e *Engine, name string) (string, func(context.Context) error, error) {
		db := mariaDatabase + "_" + name
		err := mariaExec(ctx, e.AdminURL(), "CREATE DATABASE "+db, "GRANT ALL ON "+db+".* TO "+mariaAccount(user))
		remove := func(ctx context.Context) error {
			return mariaExec(ctx, e.AdminURL(), "DROP DATABASE "+db, "REVOKE ALL ON "+db+".* FROM "+mariaAccount(user))
		}
		return engineURL("mysql", user, e.secrets.User, e.Addr(), db), remove, err
	},
}

// mariaScript is where a script that makes the system tables may be: up to MariaDB
// 10.11, and in 11.8.
func mariaScript(name string) []string {
	return []string{"/usr/share/mysql/mysql_" + name, "/usr/share/mariadb/mariadb_" + name}
}

func (e *Engine) mariaConfig(name, data string) error {
	var as string
	if os.Getuid() == 0 {
		as = "user = root\n" // asked for, or the server refuses to run as root
	}
	if e.tls[0] != "" {
		as += fmt.Sprintf("ssl-cert = %q\nssl-key = %q\n", e.tls[0], e.tls[1])
	}
	return e.write(name, fmt.Sprintf(`# Written at every start.
[mariadbd]
%sdatadir = %q
tmpdir = %q
bind-address = %s
port = %d
# In the data folder, and relative to it: the name of a socket must be short.
socket = mariadb.sock
pid-file = mariadb.pid
skip-name-resolve
local-infile = 0
max-connections = %d

character-set-server = utf8mb4
default-time-zone = '+00:00'
transaction-isolation = READ-COMMITTED

innodb-flush-log-at-trx-commit = 1
innodb-buffer-pool-size = %s
innodb-log-file-size = %s
innodb-buffer-pool-dump-at-shutdown = 0
innodb-buffer-pool-load-at-startup = 0
log-bin = binlog
sync-binlog = 1
binlog-format = ROW
server-id = 1
max-binlog-size = 64M
expire-logs-days = 1
`, as, data, e.path(dataFolder, "tmp"), loopback, e.ports[mainPort].number, mariaConnections, mariaBufferPool, mariaRedoLog))
}

// mariaBootstrap makes a database in an empty folder, as mariadb-install-db does
// but without its changes to the package's own files, and with our users: root
// by password over TCP and as whoever runs the server over the socket, nobody
// anonymous, no test database.
func (e *Engine) mariaBootstrap(ctx context.Context, data string) error {
	if err := errors.Join(os.Mkdir(data, 0o700), e.mariaConfig("bootstrap.cnf", data)); err != nil {
		return err
	}
	us, err := osuser.Current()
	if err != nil {
		return err
	}
	defer os.Remove(e.path("bootstrap.cnf"))
	// The server reads one statement per line, or several lines up to one that
	// ends with a semicolon.
	script := []io.Reader{strings.NewReader("CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket = '" + us.Username + "';\n")}
	for i := range e.spec.files[1:] {
		r, err := os.Open(e.spec.file("", i+1))
		if err != nil {
			return err
		}
		defer r.Close()
		script = append(script, r)
	}
	script = append(script, strings.NewReader(strings.Join([]string{
		"",
		"FLUSH PRIVILEGES;",
		"CREATE USER " + mariaAccount("root") + " IDENTIFIED BY '" + e.secrets.Admin + "';",
		"GRANT ALL ON *.* TO " + mariaAccount("root") + " WITH GRANT OPTION;",
		"CREATE DATABASE " + mariaDatabase + ";",
		"CREATE USER " + mariaAccount(user) + " IDENTIFIED BY '" + e.secrets.User + "';",
		"GRANT ALL ON " + mariaDatabase + ".* TO " + mariaAccount(user) + ";",
		"",
	}, "\n")))

	cmd := exec.Command(mariaServer, "--defaults-file="+e.path("bootstrap.cnf"), "--bootstrap", "--log-warnings=0",
		"--innodb-flush-log-at-trx-commit=0", "--skip-log-bin") // renamed only when all is on the disk
	cmd.Env = environment(e.folder.path)
	cmd.Stdin = io.MultiReader(script...)
	p, err := e.spawn(cmd)
	if err != nil {
		return err
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		p.kill()
		<-p.done
		return context.Cause(ctx)
	}
	if !cmd.ProcessState.Success() {
		return fmt.Errorf("the server ended: %v", p.state())
	}
	return nil
}

func mariaAccount(name string) string { return "'" + name + "'@'" + loopback + "'" }

// mariaExec runs statements over a connection of its own.
func mariaExec(ctx context.Context, address string, statements ...string) error {
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	c := mysql.NewConfig()
	c.Net, c.Addr, c.DBName = "tcp", u.Host, strings.TrimPrefix(u.Path, "/")
	c.User = u.User.Username()
	c.Passwd, _ = u.User.Password()
	c.Logger = &mysql.NopLogger{} // it is no news that a starting server drops connections
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	for _, s := range statements {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	return nil
}
