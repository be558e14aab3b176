package store

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// BenchmarkBalance is what a count of a large sale takes of the store: its sums, and a
// page of its orders with what became of them. The balancer's limits go by these figures.
//
//	go test ./internal/store -run - -bench Balance -benchtime 20x
func BenchmarkBalance(b *testing.B) {
	lite, err := Open(b.Context(), "sqlite:"+filepath.Join(b.TempDir(), "s.db"), Settings{})
	require.NoError(b, err)
	defer lite.Close()
	maria, _ := freshMySQL(b, stacktest.Own(b, stack.KindMariaDB))
	for name, s := range map[string]*Store{"sqlite": lite, "mariadb": maria} {
		for _, orders := range []int{10_000, 100_000} {
			sale := aSale(b, s, seckill.MaxTotal)
			for range orders / 1000 {
				mustSettle(b, s, someTickets(sale.ID, 1000)...)
			}
			b.Run(fmt.Sprintf("%s-sums-of-%d", name, orders), func(b *testing.B) {
				for range b.N {
					_, err := s.Weigh(b.Context(), sale.ID, 1, nil)
					require.NoError(b, err)
				}
			})
			b.Run(fmt.Sprintf("%s-page-of-%d", name, orders), func(b *testing.B) {
				for range b.N {
					page, err := s.ActiveAfter(b.Context(), sale.ID, "", 1000)
					require.NoError(b, err)
					ids := make([]string, len(page))
					for i := range page {
						ids[i] = page[i].ID
					}
					_, err = s.Fates(b.Context(), ids)
					require.NoError(b, err)
				}
			})
		}
	}
}
