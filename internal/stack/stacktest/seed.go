package stacktest

import (
	"math/rand/v2"
	"os"
	"strconv"
)

// SeedVariable in the environment is the seed of the tests that draw lots, to repeat one that
// has failed.
const SeedVariable = "SECKILL_TEST_SEED"

// Seed is for a test that draws lots: a number that decides them, another one each time. A test
// that fails prints it. What goroutines do beside each other it does not decide.
func Seed(t T) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if given := os.Getenv(SeedVariable); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatalf("%s: %v", SeedVariable, err)
		}
	}
	t.Logf("%s=%d", SeedVariable, seed)
	return seed
}
