// Package deploy_test checks what operators copy: that it is accepted, and that
// its parts fit together.
package deploy_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/stretchr/testify/require"

	"seckill/internal/app"
)

const secret = "a secret that is long enough"

// The example is a configuration that a node would start with, for shared engines
// behind nginx. Unknown keys and values out of range are errors of LoadConfig.
func TestExampleConfiguration(t *testing.T) {
	t.Parallel()
	c, err := app.LoadConfig("seckill.yaml", nil, nil)
	require.NoError(t, err)
	require.False(t, c.Embedded(), "all engines are shared")
	require.NotEmpty(t, c.HTTP.TrustedProxies, "nginx is trusted")
	for _, p := range c.HTTP.TrustedProxies {
		require.True(t, strings.HasSuffix(p, "/32"), "%s is more than one proxy", p)
	}
	require.True(t, strings.HasPrefix(c.OpsListen, "127.0.0.1:"), "operations are private")
	require.Equal(t, "/etc/seckill/auth.secret", c.Auth.SecretFile)

	// What it calls a default is one.
	d := app.Defaults()
	require.Equal(t, d.RabbitMQ.Listener, c.RabbitMQ.Listener)
	require.Equal(t, d.Run, c.Run)
	require.Equal(t, d.HTTP.StopTimeout, c.HTTP.StopTimeout)

	// A misspelt key would be found.
	b, err := os.ReadFile("seckill.yaml")
	require.NoError(t, err)
	misspelt := filepath.Join(t.TempDir(), "seckill.yaml")
	require.NoError(t, os.WriteFile(misspelt, bytes.ReplaceAll(b, []byte("trusted_proxies:"), []byte("trusted_proxy:")), 0o600))
	_, err = app.LoadConfig(misspelt, nil, nil)
	require.ErrorContains(t, err, "trusted_proxy")
}

// As under systemd: the secret's file is that of the environment.
func TestUnitAndConfigurationFitTogether(t *testing.T) {
	t.Parallel()
	unit := readUnit(t)
	file := filepath.Join(t.TempDir(), "auth.secret")
	require.NoError(t, os.WriteFile(file, []byte(secret+"\n"), 0o600))
	name, _, _ := strings.Cut(unit["Environment"][0], "=")
	c, err := app.LoadConfig("seckill.yaml", []string{name + "=" + file}, nil)
	require.NoError(t, err)
	secrets, made, err := c.Secrets(false)
	require.NoError(t, err)
	require.Empty(t, made)
	require.Equal(t, secret, string(secrets[0]))

	require.Equal(t, "/var/lib/"+unit["StateDirectory"][0], c.DataDir)
	patience, err := time.ParseDuration(unit["TimeoutStopSec"][0] + "s")
	require.NoError(t, err)
	require.Greater(t, patience, c.HTTP.DrainDelay+c.HTTP.StopTimeout+10*time.Second, "a node is not killed while it stops")
	for key, want := range map[string]string{"KillSignal": "SIGTERM", "Restart": "always", "NoNewPrivileges": "yes", "ProtectSystem": "strict", "DynamicUser": "yes"} {
		require.Equal(t, []string{want}, unit[key], key)
	}
	// The documentation explains each key that is set.
	reference := app.Reference()
	require.Contains(t, reference, "`"+name+"`")
}

// Everybody on a machine sees the arguments of its commands, so a password is none of them: not
// by a variable that Docker Compose fills in, nor by one of the shell.
func TestNoPasswordIsAnArgument(t *testing.T) {
	t.Parallel()
	argument := regexp.MustCompile(`(?i)(--[a-z-]*pass(word)?[= ]|\bpassword=)"?\$|(change_password|add_user) \S+ "?\$|\$\{\w*PASSWORD\b`)
	for _, bad := range []string{"--requirepass ${REDIS_PASSWORD}", `rabbitmqadmin --password="$$ADMIN"`, `declare user password="$$NODE"`, `rabbitmqctl change_password seckill "$(cat x)"`} {
		require.Regexp(t, argument, bad)
	}
	b, err := os.ReadFile("compose.yaml")
	require.NoError(t, err)
	compose, err := yaml.Parser().Unmarshal(b)
	require.NoError(t, err)
	for name, service := range compose["services"].(map[string]any) {
		parts := service.(map[string]any)
		for _, part := range []string{"entrypoint", "command"} {
			require.NotRegexp(t, argument, fmt.Sprint(parts[part]), "%s: %s", name, part)
		}
	}
	pages, err := filepath.Glob("../docs/*.md")
	require.NoError(t, err)
	require.NotEmpty(t, pages)
	for _, page := range pages {
		b, err := os.ReadFile(page)
		require.NoError(t, err)
		require.NotRegexp(t, argument, string(b), page)
	}
}

// readUnit reads the unit's settings: name → values, in order.
func readUnit(t *testing.T) map[string][]string {
	t.Helper()
	b, err := os.ReadFile("systemd/seckill.service")
	require.NoError(t, err)
	settings := map[string][]string{}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "[") {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		require.True(t, ok, line)
		settings[key] = append(settings[key], value)
	}
	return settings
}

// systemd finds nothing wrong with the unit, and calls its exposure low.
func TestSystemdAcceptsTheUnit(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Getenv("SECKILL_REQUIRE") == "1" {
			t.Fatalf("systemd-analyze is required and missing: %v", err)
		}
		t.Skipf("NOT TESTED: %v: apt-get install -y systemd", err)
	}
	b, err := os.ReadFile("systemd/seckill.service")
	require.NoError(t, err)
	dir := t.TempDir()
	file := filepath.Join(dir, "seckill.service")
	verify := func(unit string) (string, error) {
		require.NoError(t, os.WriteFile(file, []byte(unit), 0o600))
		out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", file).CombinedOutput()
		return string(out), err
	}
	// A program that exists.
	unit := strings.ReplaceAll(string(b), "/usr/local/bin/seckill", "/bin/true")
	out, err := verify(unit)
	require.NoError(t, err, out)
	require.Empty(t, regexp.MustCompile(`(?m)^.*seckill\.service.*$`).FindAllString(out, -1))
	out, _ = verify(strings.Replace(unit, "ProtectHome=yes", "ProtectHomes=yes", 1))
	require.Contains(t, out, "ProtectHomes", "a misspelt setting would be found")

	require.NoError(t, os.WriteFile(file, []byte(unit), 0o600))
	// In tenths: 2.0 is what systemd calls OK, most services have more than 9.
	report, err := exec.CommandContext(t.Context(), analyze, "security", "--offline=yes", "--threshold=20", "--no-pager", file).CombinedOutput()
	require.NoError(t, err, "%s", report)
}
