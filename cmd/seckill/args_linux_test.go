package main

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What ps shows of a process has no password, and the process has it.
func TestPasswordsDoNotStandInThePs(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self, "gate=redis://u:hush-hush@h:1/0", "--store", "mysql://u:hush@hush@h/d", "--gate", "rediss://hush-hush@h:6379", "--token", "hush-token", "--token=hush-token", "--listen", ":80")
	cmd.Env = append(os.Environ(), "SECKILL_TEST_ARGS=1")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	taken := make([]byte, 1024)
	n, err := out.Read(taken) // it has blanked what it was given
	require.NoError(t, err)
	shown, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/cmdline")
	require.NoError(t, err)
	require.NoError(t, in.Close())
	require.NoError(t, cmd.Wait())
	require.Equal(t, 6, strings.Count(string(taken[:n]), "hush-hush")+strings.Count(string(taken[:n]), "hush@hush")+strings.Count(string(taken[:n]), "hush-token")+strings.Count(string(taken[:n]), ":80"), "it has what it was given: %s", taken[:n])
	require.NotContains(t, string(shown), "hush")
	require.Contains(t, string(shown), "gate=redis://u:*********@h:1/0")
	require.Contains(t, string(shown), "rediss://*********@h:6379")
	require.True(t, bytes.Contains(shown, []byte("--listen\x00:80")), "%q", shown)
}
