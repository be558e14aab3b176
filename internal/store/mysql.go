package store

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"seckill"
	"seckill/internal/ca"
)

// Limits of a connection to MySQL, MariaDB or TiDB.
const (
	dialTimeout = 2 * time.Second
	ioTimeout   = 10 * time.Second // without a byte from or to the server
	// lockWait ends a statement that waits for a row. It must be shorter than
	// ioTimeout: else the node hangs up and the server keeps what was locked
	// until it notices.
	lockWait = 5 * time.Second
	// idleWait ends a connection that is silent, in a transaction too. It bounds
	// how long the rows stay locked that a machine held when it lost its power.
	idleWait     = 90 * time.Second
	connIdle     = 30 * time.Second // shorter: nobody takes up a connection that is about to end
	connLife     = 5 * time.Minute  // so that connections follow a proxy to a new server
	connsMost    = 32               // unless Settings.Connections says otherwise: half of them write, half read
	migrateWait  = 10 * time.Second // for another node's migrations
	mysqlRows    = 1000             // in one statement: one round trip for a batch, far below max_allowed_packet
	mysqlDefault = "3306"
)

// openMySQL makes the store of a mysql:// URL, without a connection.
func openMySQL(raw string, settings Settings) (*Store, error) {
	c, where, err := mysqlConfig(raw)
	if err != nil {
		return nil, err
	}
	s := &Store{settings: settings, where: where, mostEligible: maxEligible, dialect: dialect{
		name:  "mysql",
		goose: database.DialectMySQL,
		class: classMySQL,
		check: checkMySQL,
		weak:  weakMySQL,
		chunk: mysqlRows,
		lock:  " FOR UPDATE",
		byKey: " FORCE INDEX (PRIMARY)",
		// An index of the state would be written with each order that is placed, and made that
		// a tenth slower; SQLite's leaves those orders out, which InnoDB's cannot. So orders are
		// looked at from the newest on.
		byState:     func(seckill.OrderState) string { return " FORCE INDEX (PRIMARY) STRAIGHT_JOIN" },
		clock:       "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)",
		max:         "GREATEST",
		active:      "active_buyer",
		activeBuyer: "active_buyer",
		min:         "LEAST",
		unpaid:      "unpaid_until > ?",
		due:         "SELECT id, unpaid_until FROM tickets WHERE unpaid_until <= ? ORDER BY unpaid_until LIMIT ?",
	}}
	half := cmp.Or(settings.Connections, connsMost) / 2
	if s.w, err = openSession(c, "READ COMMITTED", half); err != nil {
		return nil, err
	}
	// What reads several tables reads them as of one moment.
	if s.r, err = openSession(c, "REPEATABLE READ", half); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.dialect.underLock = func(ctx context.Context, migrate func(*sql.DB) error) error { return migrateMySQL(ctx, c, migrate) }
	return s, nil
}

const mysqlForm = "mysql://user:pass@host:port/db[?parameters]"

// caParameter names the file of the server's own CA (mysql.ca_file); it means TLS,
// with a certificate that is checked.
const caParameter = "ca"

// mysqlParameters may be in the URL, by the driver's names. Everything else is
// ours to set, or would break what is promised.
var mysqlParameters = []string{"allowCleartextPasswords", "allowNativePasswords", "compress", "connectionAttributes", "maxAllowedPacket", "timeout", "tls"}

// mysqlConfig reads a URL. where names the database without the password, and
// so do errors.
func mysqlConfig(raw string) (c *mysql.Config, where string, err error) {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || u.Fragment != "" || u.User.Username() == "" {
		// The reason is not repeated, because a password that was not escaped shows
		// up in it.
		return nil, "", errors.New("store: --store cannot be read: want " + mysqlForm + "; in user and password, characters such as / @ # % must be written as %2F %40 %23 %25")
	}
	db := strings.TrimPrefix(u.Path, "/")
	addr := net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), mysqlDefault))
	where = "mysql://" + u.User.Username() + "@" + addr + "/" + db
	if db == "" || strings.Contains(db, "/") {
		return nil, "", fmt.Errorf("store %s: --store must name one database: %s", where, mysqlForm)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, "", fmt.Errorf("store %s: --store: the parameters cannot be read: %w", where, err)
	}
	own, hasCA := query.Get(caParameter), query.Has(caParameter)
	query.Del(caParameter)
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if !slices.Contains(mysqlParameters, name) {
			return nil, "", fmt.Errorf("store %s: --store: parameter %q is not known: %s are", where, name, strings.Join(mysqlParameters, ", "))
		}
	}
	if c, err = mysql.ParseDSN("tcp(" + addr + ")/?" + query.Encode()); err != nil {
		return nil, "", fmt.Errorf("store %s: --store: %w", where, err)
	}
	if hasCA {
		if c.TLS, err = ca.TLS(own, u.Hostname()); err != nil {
			return nil, "", fmt.Errorf("store %s: mysql.ca_file: %w", where, err)
		}
		c.TLSConfig, c.AllowFallbackToPlaintext = "", false
	}
	c.User, c.DBName = u.User.Username(), db
	c.Passwd, _ = u.User.Password()
	c.Timeout = cmp.Or(c.Timeout, dialTimeout)
	c.ReadTimeout, c.WriteTimeout = ioTimeout, ioTimeout
	c.Collation = "utf8mb4_bin"
	c.ParseTime = true
	// One round trip for a statement instead of two or, with prepared ones, a
	// copy of each in every connection. Settling is as fast either way.
	c.InterpolateParams = true
	// An UPDATE that matches a row and leaves it as it was is a match.
	c.ClientFoundRows = true
	c.Logger = &mysql.NopLogger{} // what the driver would log is in the errors that it returns too
	return c, where, nil
}

// session is a connector whose connections begin with statements.
type session struct {
	driver.Connector
	begin []string
}

// openSession makes a pool of so many connections at most.
func openSession(c *mysql.Config, isolation string, most int) (*sql.DB, error) {
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, fmt.Errorf("store: --store: %w", err)
	}
	db := sql.OpenDB(session{connector, []string{
		// Strict, so that nothing is cut to fit. Lock waits are in seconds. What keeps a unit from
		// being sold twice does not depend on what the server has for new sessions; in the
		// comment is what MariaDB alone has.
		fmt.Sprintf("SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00', innodb_lock_wait_timeout = %d, lock_wait_timeout = %d, wait_timeout = %d, autocommit = 1, unique_checks = 1, foreign_key_checks = 1 /*M!100201 , check_constraint_checks = 1 */",
			int(lockWait.Seconds()), int(lockWait.Seconds()), int(idleWait.Seconds())),
		// By a statement: MySQL and MariaDB name the variable differently.
		"SET SESSION TRANSACTION ISOLATION LEVEL " + isolation,
	}})
	db.SetMaxOpenConns(most)
	db.SetMaxIdleConns(most)
	db.SetConnMaxIdleTime(connIdle)
	db.SetConnMaxLifetime(connLife)
	return db, nil
}

// Connect is part of driver.Connector.
func (s session) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := s.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	for _, q := range s.begin {
		if _, err := conn.(driver.ExecerContext).ExecContext(ctx, q, nil); err != nil {
			conn.Close()
			return nil, err
		}
	}
	return boundConn{conn.(serverConn)}, nil
}

// migrateMySQL calls migrate under the server's lock for this database. The lock
// belongs to a connection, so it is free as soon as a node that died in a
// migration is gone. (Goose's own locks begin after it has made its table.)
func migrateMySQL(ctx context.Context, c *mysql.Config, migrate func(*sql.DB) error) error {
	patient := c.Clone()
	patient.ReadTimeout = 0 // a change of a big table takes its time
	db, err := openSession(patient, "READ COMMITTED", connsMost/2)
	if err != nil {
		return err
	}
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return classMySQL(err)
	}
	defer conn.Close() // and with it the lock: the pool is closed next
	var locked sql.NullBool
	if err := conn.QueryRowContext(ctx, "SELECT GET_LOCK(?, ?)", migrationLock(c.DBName), int(migrateWait.Seconds())).Scan(&locked); err != nil {
		return classMySQL(err)
	}
	if !locked.Bool {
		return fmt.Errorf("%w: another node is migrating the database", seckill.ErrUnavailable)
	}
	// It is silent while others work, and must not be ended for that.
	if _, err := conn.ExecContext(ctx, "SET SESSION wait_timeout = 86400"); err != nil {
		return classMySQL(err)
	}
	// Goose makes its table and then writes the row of version 0. If a node died
	// in between, no later one would get on.
	_, err = conn.ExecContext(ctx, "INSERT INTO "+goose.DefaultTablename+" (version_id, is_applied) SELECT 0, 1 FROM DUAL WHERE NOT EXISTS (SELECT 1 FROM "+goose.DefaultTablename+")")
	if err != nil && number(err) != errNoTable {
		return classMySQL(err)
	}
	return migrate(db)
}

// migrationLock names the lock after the database, since the server has one set
// of locks for all of them. A name may have 64 characters.
func migrationLock(db string) string {
	return "seckill-" + strconv.FormatUint(uint64(crc32.ChecksumIEEE([]byte(db))), 36)
}

// variables returns those settings of the server that it has, by lower-case
// name.
func (s *Store) variables(ctx context.Context, names ...string) (map[string]string, error) {
	rows, err := s.w.QueryContext(ctx, "SHOW VARIABLES WHERE Variable_name IN ('"+strings.Join(names, "', '")+"')")
	if err != nil {
		return nil, classMySQL(err)
	}
	defer rows.Close()
	all := map[string]string{}
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return nil, err
		}
		all[strings.ToLower(name)] = value
	}
	if err := rows.Err(); err != nil {
		return nil, classMySQL(err)
	}
	return all, nil
}

// checkMySQL refuses servers that cannot do what is asked of them.
func checkMySQL(ctx context.Context, s *Store) error {
	v, err := s.variables(ctx, "version", "log_bin", "binlog_format")
	if err != nil {
		return err
	}
	if isOn(v["log_bin"]) && strings.EqualFold(v["binlog_format"], "STATEMENT") {
		return errors.New("binlog_format = STATEMENT cannot log transactions in READ COMMITTED: set binlog_format = ROW")
	}
	return checkVersion(v["version"])
}

// checkVersion refuses versions that read CHECK constraints and forget them.
func checkVersion(version string) error {
	needs, at := "MySQL 8.0.16", [3]int{8, 0, 16}
	switch {
	case strings.Contains(version, "TiDB"):
		return nil
	case strings.Contains(version, "MariaDB"):
		needs, at = "MariaDB 10.6", [3]int{10, 6, 0}
		version = strings.TrimPrefix(version, "5.5.5-") // how some of them say hello
	}
	var is [3]int
	if _, err := fmt.Sscanf(version, "%d.%d.%d", &is[0], &is[1], &is[2]); err != nil || slices.Compare(is[:], at[:]) < 0 {
		return fmt.Errorf("the server is version %q: %s or newer is needed", version, needs)
	}
	return nil
}

func isOn(v string) bool { return v == "1" || strings.EqualFold(v, "ON") }

// weakMySQL compares the server's settings with what is promised.
func weakMySQL(ctx context.Context, s *Store) ([]string, error) {
	v, err := s.variables(ctx, "innodb_flush_log_at_trx_commit", "log_bin", "sync_binlog", "innodb_doublewrite", "tidb_enable_check_constraint")
	if err != nil {
		return nil, err
	}
	var weak []string
	complain := func(name, loses, set string) {
		weak = append(weak, fmt.Sprintf("%s has %s = %s, which %s: set %s = %s.", s.where, name, v[name], loses, name, set))
	}
	// 3 is MariaDB's: as 1, with one more sync.
	if f := v["innodb_flush_log_at_trx_commit"]; f != "" && f != "1" && f != "3" {
		complain("innodb_flush_log_at_trx_commit", "may lose the orders of the last second in a crash", "1")
	}
	if isOn(v["log_bin"]) && v["sync_binlog"] != "1" {
		complain("sync_binlog", "may lose committed orders when the machine stops", "1")
	}
	if d := v["innodb_doublewrite"]; d != "" && !isOn(d) {
		complain("innodb_doublewrite", "may leave half-written pages when the machine stops", "ON")
	}
	if c := v["tidb_enable_check_constraint"]; c != "" && !isOn(c) {
		complain("tidb_enable_check_constraint", "takes away the last guard against an oversell", "ON")
	}
	return weak, nil
}

// The server's error numbers that mean something here.
const (
	errDupEntry        = 1062
	errDupEntryKeyName = 1586

	errLockWait       = 1205 // only the statement is undone: the transaction must be rolled back
	errDeadlock       = 1213
	errRecordChanged  = 1020 // MariaDB, innodb_snapshot_isolation
	errWriteConflict  = 9007 // TiDB
	errSchemaChanging = 8028 // TiDB

	errBadNull       = 1048
	errPacketTooBig  = 1153
	errOutOfRange    = 1264
	errTruncated     = 1265
	errBadCharacters = 1300
	errBadString     = 1366
	errTooLong       = 1406
	errNumberRange   = 1690
	errCheck         = 3819
	errCheckMariaDB  = 4025

	errNoTable = 1146
)

func number(err error) uint16 {
	var e *mysql.MySQLError
	if errors.As(err, &e) {
		return e.Number
	}
	return 0
}

// classMySQL tells what a failure means to the caller. What is not known to be
// about the data is about the database: a shutdown, a server that only reads, a
// connection, a timeout, and whatever else gets better without our doing.
func classMySQL(err error) error {
	switch number(err) {
	case errDupEntry, errDupEntryKeyName:
		return fmt.Errorf("%w: %w", errDuplicate, err)
	case errLockWait, errDeadlock, errRecordChanged, errWriteConflict, errSchemaChanging:
		return fmt.Errorf("%w: %w: %w", seckill.ErrUnavailable, errAgain, err)
	case errBadNull, errOutOfRange, errTruncated, errBadCharacters, errBadString, errTooLong, errNumberRange, errCheck, errCheckMariaDB, errPacketTooBig:
		return fmt.Errorf("%w: %w", ErrTicket, err)
	}
	if errors.Is(err, mysql.ErrPktTooLarge) { // a smaller batch fits
		return fmt.Errorf("%w: %w", ErrTicket, err)
	}
	return fmt.Errorf("%w: %w", seckill.ErrUnavailable, err)
}
