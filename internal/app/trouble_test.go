package app

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/access"
	"seckill/internal/store"
	"seckill/internal/store/storetest"
)

// Nodes of one store with different secrets are named, in the log and in /readyz: all of
// them, whoever came first. What one of them has sealed is not thrown away by another.
func TestANodeWithAnotherSecretIsNamed(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "seckill.db")
	storetest.Make(t, file, store.Open)
	s, err := store.Open(t.Context(), "sqlite:"+file, store.Settings{Exclusive: true})
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	with := func(secrets ...string) *Node {
		var all [][]byte
		for _, secret := range secrets {
			all = append(all, []byte(secret))
		}
		seals, err := seckill.NewSeals(all...)
		require.NoError(t, err)
		n := &Node{store: s, seals: seals, access: new(access.Guard)}
		n.config.Store = "mysql://u:p@h/db"
		return n
	}
	// says is what a node's checks say of its secret.
	says := func(n *Node) string {
		checks := n.checks()
		weak, err := checks[0](t.Context())
		require.NoError(t, err)
		degraded := n.degraded()
		require.Equal(t, len(weak), len(degraded), "/readyz says what the log says")
		return strings.Join(append(weak, degraded...), "\n")
	}
	strangers := func(n *Node) bool {
		others, err := (&strangers{other: n.otherSecret}).there(t.Context())
		require.NoError(t, err)
		return others
	}
	first, second := with("one"), with("two")
	require.Empty(t, says(first))
	require.False(t, strangers(first))
	require.Contains(t, says(second), "auth.secret (fingerprint "+second.seals.Prints()[0]+") is not that of other nodes of this store ("+first.seals.Prints()[0])
	require.True(t, strangers(second))
	require.Contains(t, says(first), second.seals.Prints()[0], "the first one is told of the second")
	require.True(t, strangers(first))
	rotated := with("two", "one")
	require.Empty(t, says(rotated), "it knows both")
	require.False(t, strangers(rotated))
}

// logged is a log that keeps its lines, by level.
type logged struct {
	slog.Handler
	mu    *sync.Mutex
	lines *[]string
}

func (l logged) Enabled(context.Context, slog.Level) bool { return true }

func (l logged) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	*l.lines = append(*l.lines, r.Level.String()+" "+r.Message)
	return nil
}

// What became weak after the start is said within a minute, once, and so is that it is
// as promised again. A part that cannot be asked keeps no other from being checked.
func TestWhatBecomesWeakIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // of both
		var kept, weak []string
		lines := func() []string {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(kept)
		}
		becomes := func(now ...string) {
			mu.Lock()
			defer mu.Unlock()
			weak = now
		}
		gauge := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "weak"}, nil)
		away := true
		p := &preparer{log: slog.New(logged{slog.DiscardHandler, &mu, &kept}), weak: gauge, checks: []func(context.Context) ([]string, error){
			func(context.Context) ([]string, error) {
				mu.Lock()
				defer mu.Unlock()
				if away {
					return nil, errors.New("it is away")
				}
				return nil, nil
			},
			func(context.Context) ([]string, error) {
				mu.Lock()
				defer mu.Unlock()
				return slices.Clone(weak), nil
			},
		}}
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan struct{})
		go func() { defer close(over); p.watch(ctx) }()
		value := func() float64 {
			metrics := make(chan prometheus.Metric, 1)
			if gauge.Collect(metrics); len(metrics) == 0 {
				return -1
			}
			var m dto.Metric
			require.NoError(t, (<-metrics).Write(&m))
			return m.Gauge.GetValue()
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Empty(t, lines())
		require.EqualValues(t, -1, value(), "nobody knows whether all is well")
		mu.Lock()
		away = false
		mu.Unlock()
		time.Sleep(checkEvery)
		synctest.Wait()
		require.Zero(t, value())
		mu.Lock()
		away = true
		mu.Unlock()
		becomes("appendfsync is everysec")
		time.Sleep(checkEvery)
		synctest.Wait()
		require.Equal(t, []string{"WARN weaker than promised: appendfsync is everysec"}, lines())
		require.EqualValues(t, 1, value())
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Len(t, lines(), 1, "it is said once")
		becomes()
		time.Sleep(checkEvery)
		synctest.Wait()
		require.Equal(t, "INFO as promised again, it was: appendfsync is everysec", lines()[1])
		require.Zero(t, value())
		cancel()
		<-over
	})
}

// A healthy start on embedded parts warns of nothing.
func TestAHealthyStartWarnsOfNothing(t *testing.T) {
	t.Parallel()
	log := warnings{slog.DiscardHandler, make(chan string, 1000)}
	c := embedded(t)
	c.Payment.Provider, c.Payment.Secret = seckill.ProviderShop, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" // "test" is warned of
	n, stop := node(t, c, log)
	require.Equal(t, 200, status(t, n.OpsURL()+"/readyz"))
	require.NoError(t, stop())
	close(log.heard)
	for said := range log.heard {
		t.Errorf("the node warns: %s", said)
	}
}

// A data folder in which nothing can be written says so, and whose it should be.
func TestADataFolderThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	c := embedded(t)
	// A file in the place of the folder: also root cannot write below it.
	c.DataDir = filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.WriteFile(c.DataDir, nil, 0o600))
	_, err := Open(t.Context(), c, slog.New(slog.DiscardHandler))
	require.Error(t, err)
	require.NotContains(t, err.Error(), "in use")
	require.Contains(t, err.Error(), c.DataDir)
}

// /readyz names what is degraded although the node is ready.
func TestReadyzSaysWhatIsDegraded(t *testing.T) {
	t.Parallel()
	n, _ := node(t, embedded(t))
	why := "the secret is another one"
	n.secretDiffers.Store(&why)
	w := httptest.NewRecorder()
	n.readyz(w, httptest.NewRequest("GET", "/readyz", nil))
	body, err := io.ReadAll(w.Result().Body)
	require.NoError(t, err)
	var said struct{ Degraded []string }
	require.NoError(t, json.Unmarshal(body, &said))
	require.Equal(t, 200, w.Code)
	require.Equal(t, []string{"node: " + why}, said.Degraded)

	require.Empty(t, saysOfRules(n.access.Age()))
	require.Contains(t, saysOfRules(oldRules + time.Second)[0], "read last 11s ago")
}

// A previous secret that is not set is none: were it taken for an empty one, everybody could
// seal tickets with the key that is derived from nothing.
func TestNoPreviousSecretIsNone(t *testing.T) {
	t.Parallel()
	c := Defaults()
	c.Auth.Secret = "a secret of thirty-two bytes, for tests"
	secrets, _, err := c.Secrets(false)
	require.NoError(t, err)
	require.Len(t, secrets, 1)
	c.Auth.PreviousSecret = "another secret of thirty-two bytes, old"
	secrets, _, err = c.Secrets(false)
	require.NoError(t, err)
	require.Len(t, secrets, 2)
}
