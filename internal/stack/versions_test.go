//go:build linux

package stack_test

import (
	"context"
	"database/sql"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	_ "github.com/go-sql-driver/mysql"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	. "seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// The READMEs name the versions that the tests run on: those that the engines
// themselves say. On another system than the table's, nothing is compared.
func TestTheReadmeNamesTheVersionsOfTheEngines(t *testing.T) {
	t.Parallel()
	release, err := os.ReadFile("/etc/os-release")
	require.NoError(t, err)
	id := regexp.MustCompile(`(?m)^VERSION_ID="?(\d+)"?$`).FindSubmatch(release)
	if !strings.Contains(string(release), "ID=debian") || id == nil {
		t.Skip("NOT TESTED: this is no Debian, and the table is about Debian")
	}
	for name, version := range versions(t) {
		for _, file := range []string{"../../README.md", "../../README.zh-CN.md"} {
			require.Equal(t, version, tabled(t, file, name, "Debian "+string(id[1])), "%s: %s", file, name)
		}
	}
}

// versions asks the running engines for their versions, in short: "7.0".
func versions(t *testing.T) map[string]string {
	t.Helper()
	short := regexp.MustCompile(`\d+\.\d+`).FindString
	found := map[string]string{}
	info, err := stacktest.Shared(t, KindRedis).AskRedis(t.Context(), "INFO", "server")
	require.NoError(t, err)
	if m := regexp.MustCompile(`valkey_version:(\S+)`).FindStringSubmatch(info); m != nil {
		found["Valkey"] = short(m[1])
	} else {
		found["Redis"] = short(regexp.MustCompile(`redis_version:(\S+)`).FindString(info))
	}
	rabbit, err := amqp.Dial(stacktest.Shared(t, KindRabbitMQ).URL())
	require.NoError(t, err)
	version, _ := rabbit.Properties["version"].(string)
	require.NoError(t, rabbit.Close())
	found["RabbitMQ"] = short(version)
	found["MariaDB"] = short(mariaVersion(t, stacktest.Shared(t, KindMariaDB)))
	out, err := exec.CommandContext(t.Context(), NginxServer, "-v").CombinedOutput()
	require.NoError(t, err)
	found["nginx"] = short(string(out))
	return found
}

func mariaVersion(t *testing.T, e *Engine) (version string) {
	t.Helper()
	db, err := sql.Open("mysql", User+":"+e.Password()+"@tcp("+e.Addr()+")/"+MariaDatabase)
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, db.QueryRowContext(context.Background(), "SELECT VERSION()").Scan(&version))
	return version
}

// tabled is the cell of a row and a column of the file's table of versions.
func tabled(t *testing.T, file, row, column string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	var columns []string
	for line := range strings.Lines(string(b)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(cells) > 1 && strings.HasPrefix(cells[1], "Debian ") {
			columns = cells
		}
		if len(columns) == len(cells) && cells[0] == row {
			for i, c := range columns {
				if c == column {
					return cells[i]
				}
			}
		}
	}
	t.Fatalf("%s has no row %s with a column %s", file, row, column)
	return ""
}
