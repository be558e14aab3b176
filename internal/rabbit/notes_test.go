package rabbit_test

import (
	"testing"
	"time"

	"github.com/knadh/koanf/providers/structs"
	"github.com/knadh/koanf/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/rabbit/rabbittest"
)

func TestTheSettingsOfTheNotesAreNamedAndSetAsInTheNotes(t *testing.T) {
	t.Parallel()
	notes := rabbittest.Notes()
	require.NoError(t, notes.Check())
	k := koanf.New(".")
	require.NoError(t, k.Load(structs.Provider(notes, "koanf"), nil))
	for key, want := range map[string]any{
		"listener.concurrency": 10, "listener.max_concurrency": 10, "listener.prefetch": 1,
		"listener.auto_startup": true, "listener.default_requeue_rejected": true,
		"publish_retry.enabled": true, "publish_retry.initial_interval": time.Second, "publish_retry.max_attempts": 3,
		"publish_retry.max_interval": 10 * time.Second, "publish_retry.multiplier": 1.0,
		"host": "127.0.0.1", "port": 5672, "username": "seckill", "password": seckill.Secret(""), "virtual_host": "/seckill",
	} {
		assert.Equal(t, want, k.Get(key), key)
	}
}
