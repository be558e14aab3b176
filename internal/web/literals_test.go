package web

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/account"
	"seckill/internal/sale"
)

// The console's pages have no build step, so they write roles and limits out. They are those
// of the server.
func TestTheConsoleHasTheServersRolesAndLimits(t *testing.T) {
	t.Parallel()
	read := func(file string) string {
		b, err := os.ReadFile("console/static/" + file)
		require.NoError(t, err)
		return string(b)
	}
	free := seckill.Sale{ListPrice: 1, Price: 1, OpensAt: time.Unix(0, 0), ClosesAt: time.Unix(1e10, 0)}
	for _, w := range append(sale.Warnings(seckill.Sale{}, time.Now()), sale.Warnings(free, time.Now())...) {
		for _, language := range []string{"en", "zh-CN"} {
			words, err := os.ReadFile("console/words/" + language + "/buttons.json")
			require.NoError(t, err)
			require.Contains(t, string(words), `"warning.`+w.Code+`": "`)
		}
	}
	roles := "'" + strings.Join(seckill.Roles(), "', '") + "'"
	require.Contains(t, read("desk.js"), "const ranks = ["+roles+"]")
	require.Contains(t, read("people.js"), "options: ['', "+roles+"]")

	require.Contains(t, read("balance.js"), fmt.Sprintf("fresh = %d_000;", seckill.BalanceFresh/time.Second))

	for _, c := range []struct {
		file, field, limit string // the limit is the first one behind the field's name
		want               int64
	}{
		{"edit.js", "title", "maxlength", seckill.MaxTitle},
		{"edit.js", "description", "maxlength", seckill.MaxDescription},
		{"edit.js", "image", "maxlength", seckill.MaxImage},
		{"edit.js", "total", "max", seckill.MaxTotal},
		{"edit.js", "limit_per_buyer", "max", seckill.MaxQuantity},
		{"edit.js", "hold_seconds", "max", seckill.MaxHoldSeconds},
		{"edit.js", "account_age_seconds", "max", seckill.MaxAccountAge},
		{"edit.js", "tries_per_buyer", "max", seckill.MaxTries},
		{"edit.js", "cooldown_seconds", "max", seckill.MaxCooldown},
		{"actions.js", "delta", "max", seckill.MaxTotal},
		{"actions.js", "text", "maxlength", seckill.MaxNotice},
		{"actions.js", "seconds", "max", seckill.MaxHoldSeconds},
		{"order.js", "reason", "maxlength", seckill.MaxReason},
		{"people.js", "password", "minlength", account.MinPassword},
		{"me.js", "password", "minlength", account.MinPassword},
	} {
		m := regexp.MustCompile(`name: '` + c.field + `'[^}]*?\b` + c.limit + `: ([0-9_]+)`).FindStringSubmatch(read(c.file))
		require.NotNil(t, m, "%s: %s", c.file, c.field)
		n, err := strconv.ParseInt(strings.ReplaceAll(m[1], "_", ""), 10, 64)
		require.NoError(t, err)
		require.Equal(t, c.want, n, "%s: %s", c.file, c.field)
	}
}

// What the pages are tested with is what the server sends: the words of checks are those of
// its checks (internal/api holds that), and the preflights of these tests have no others.
func TestThePreflightsOfTheseTestsHaveChecksOfTheServer(t *testing.T) {
	t.Parallel()
	words := deskWords()["en"]
	for _, go_ := range []bool{true, false} {
		var v struct{ Checks []struct{ Name, Code string } }
		require.NoError(t, json.Unmarshal([]byte(checks(go_)), &v))
		require.NotEmpty(t, v.Checks)
		for _, c := range v.Checks {
			require.NotEmpty(t, words["checks."+strings.ReplaceAll(c.Name, " ", "_")], c.Name)
			if c.Code != "" {
				require.NotEmpty(t, words["check_says."+c.Code], c.Code)
			}
		}
	}
}
