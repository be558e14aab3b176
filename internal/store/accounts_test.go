package store

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"seckill"
)

// Accounts from before names were folded keep their names: the older one of two is
// found in any spelling, the other one by its very own, and nobody takes either.
func TestNamesOfBeforeAreFolded(t *testing.T) {
	t.Parallel()
	url := "sqlite:" + filepath.Join(t.TempDir(), "seckill.db")
	s, err := Open(t.Context(), url, Settings{})
	require.NoError(t, err)
	require.NoError(t, s.Prepare(t.Context()))
	for i, name := range []string{"Li.Wei", "li.wei", "li\tmei"} {
		_, err := s.w.ExecContext(t.Context(), "INSERT INTO accounts (name, buyer, role, hash, created_at) VALUES (?, ?, '', 'x', ?)", name, name, i)
		require.NoError(t, err)
	}
	require.NoError(t, s.Close())

	s, err = Open(t.Context(), url, Settings{})
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.Prepare(t.Context()))
	for asked, found := range map[string]string{"Li.Wei": "Li.Wei", "li.wei": "li.wei", "LI.WEI": "Li.Wei", "Ｌi.wei": "Li.Wei", "li\tmei": "li\tmei"} {
		a, err := s.Account(t.Context(), asked)
		require.NoError(t, err, asked)
		require.Equal(t, found, a.Name, asked)
	}
	for _, name := range []string{"Li.Wei", "li.wei", "LI.WEI"} {
		require.ErrorIs(t, s.CreateAccount(t.Context(), seckill.Account{Name: name, Buyer: "new", Hash: "x"}), seckill.ErrNameTaken, name)
	}
	require.NoError(t, s.CreateAccount(t.Context(), seckill.Account{Name: "Zoë", Buyer: "zoe", Hash: "x"}))
	a, err := s.Account(t.Context(), "ZOE\u0308")
	require.NoError(t, err)
	require.Equal(t, "Zoë", a.Name)
	_, err = s.Account(t.Context(), "nobody")
	require.ErrorIs(t, err, seckill.ErrNotFound)
}
