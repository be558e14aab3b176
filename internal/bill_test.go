package internal

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// docs/bill-of-materials.md lists the modules that the binary is built from, each with
// its version and checksum. To write it again:
//
//	SECKILL_WRITE=1 go test ./internal -run TestTheBillOfMaterials
func TestTheBillOfMaterials(t *testing.T) {
	t.Parallel()
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}} {{.Version}}{{end}}", "./cmd/seckill")
	list.Dir = ".."
	out, err := list.Output()
	require.NoError(t, err)
	sums, err := os.ReadFile("../go.sum")
	require.NoError(t, err)
	sum := map[string]string{}
	for line := range strings.Lines(string(sums)) {
		if f := strings.Fields(line); len(f) == 3 {
			sum[f[0]+" "+f[1]] = f[2]
		}
	}
	modules := strings.Split(strings.TrimSpace(string(out)), "\n")
	slices.Sort(modules)
	page := `# Bill of materials

The modules that the binary ` + "`seckill`" + ` is built from, with the checksums that the build verifies (go.sum). Of a binary in hand: ` + "`go version -m seckill`" + `.
Known weaknesses in them: ` + "`go run golang.org/x/vuln/cmd/govulncheck@v1.3.0 ./...`" + `. Engines are those of the distribution ([README](../README.md#tested-with)).

| module | version | checksum |
|---|---|---|
`
	for _, m := range slices.Compact(modules) {
		path, version, _ := strings.Cut(m, " ")
		if version == "" { // this one
			continue
		}
		require.NotEmpty(t, sum[m], m)
		page += fmt.Sprintf("| %s | %s | `%s` |\n", path, version, sum[m])
	}
	if os.Getenv("SECKILL_WRITE") == "1" {
		require.NoError(t, os.WriteFile("../docs/bill-of-materials.md", []byte(page), 0o644))
	}
	have, err := os.ReadFile("../docs/bill-of-materials.md")
	require.NoError(t, err)
	require.Equal(t, page, string(have), "write it again as the comment of this test says")
}
