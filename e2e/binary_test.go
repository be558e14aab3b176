package e2e

import (
	"os/exec"
	"strings"
	"testing"
)

// The binary that users run has nothing in it that only tests need.
func TestTheBinaryHasNoTestHelpers(t *testing.T) {
	t.Parallel()
	symbols, err := exec.Command("go", "tool", "nm", binary(t)).Output()
	must(t, err)
	if !strings.Contains(string(symbols), "seckill/internal/stack.Up") {
		t.Fatal("the symbols of the binary cannot be read")
	}
	for _, helper := range []string{
		"stacktest", "github.com/stretchr/", "github.com/Shopify/toxiproxy", " testing.(*T)", "rabbittest", "queuetest", "gatetest",
	} {
		for line := range strings.Lines(string(symbols)) {
			if strings.Contains(line, helper) {
				t.Errorf("the binary has %s", strings.TrimSpace(line))
				break
			}
		}
	}
}
