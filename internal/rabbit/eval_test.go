package rabbit_test

import (
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"seckill/internal/rabbit/rabbittest"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// Tests that run beside each other have the shared broker evaluate at the same time.
func TestManyEvaluateAtOnce(t *testing.T) {
	t.Parallel()
	broker := stacktest.Shared(t, stack.KindRabbitMQ)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			assert.Equal(t, strconv.Itoa(i+1), rabbittest.Eval(t, broker, strconv.Itoa(i)+" + 1."))
		})
	}
	all.Wait()
}
