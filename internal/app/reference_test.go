package app

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheConfigurationPageIsTheReference(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/configuration.md")
	require.NoError(t, err)
	_, table, ok := strings.Cut(string(page), "| key | environment")
	require.True(t, ok)
	require.Equal(t, Reference(), "| key | environment"+table, "renew it with: seckill config --reference")
}
