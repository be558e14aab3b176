package seckill_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/gate/gatetest"
)

// The rule says what the table says. The gates are held to the same table where their
// tests are.
func TestTheRuleOfAdmission(t *testing.T) {
	t.Parallel()
	cases, err := gatetest.Cases()
	require.NoError(t, err)
	heard := map[string]bool{}
	for _, c := range cases {
		require.Equal(t, c.Hears, c.Rule(), c.Line)
		heard[c.Hears] = true
	}
	for _, v := range seckill.Verdicts() {
		word := v.String()
		if v == seckill.Queued {
			word += "+new"
		}
		require.True(t, heard[word], "no case hears %s", word)
	}
}
