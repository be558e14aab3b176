package queue

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"seckill/internal/queue/queuetest"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	for name, test := range queuetest.Behaviours {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, NewMemory(queuetest.Limit))
		})
	}
}

func TestAFullMemoryQueueMakesItsSenderWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := NewMemory(2)
		sent := false
		go func() {
			confirmed, err := q.Publish(t.Context(), queuetest.Some(3))
			assert.NoError(t, err)
			assert.Len(t, confirmed, 3)
			sent = true
		}()
		synctest.Wait()
		require.False(t, sent)
		require.Equal(t, 2, q.Depth())
		tickets, done, err := q.Receive(t.Context(), 10)
		require.NoError(t, err)
		synctest.Wait()
		require.True(t, sent, "there is room for the third")
		require.NoError(t, done(false))
		require.Equal(t, 3, q.Depth(), "what is returned counts, whether there is room or not")
		require.NotEmpty(t, tickets)
	})
}

// Every receiver that waits is woken when there is enough for all of them.
func TestNobodyWaitsWhileReturnedTicketsLie(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := NewMemory(0)
		_, err := q.Publish(t.Context(), queuetest.Some(4))
		require.NoError(t, err)
		batch, done, err := q.Receive(t.Context(), 4)
		require.NoError(t, err)
		require.Len(t, batch, 4)
		got := make(chan int, 4)
		for range 4 {
			go func() {
				tickets, _, err := q.Receive(t.Context(), 1)
				assert.NoError(t, err)
				got <- len(tickets)
			}()
		}
		synctest.Wait()
		require.NoError(t, done(false))
		for range 4 {
			require.Equal(t, 1, <-got) // or the bubble is deadlocked
		}
	})
}

func TestAMemoryQueueHasALimitByDefault(t *testing.T) {
	t.Parallel()
	assert.Equal(t, memoryLimit, cap(NewMemory(0).tickets))
}
