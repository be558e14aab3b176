package seckill

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnEndpointShowsNoSecret(t *testing.T) {
	t.Parallel()
	for whole, shown := range map[Endpoint]string{
		"": "", "https://shop.example/hooks": "https://shop.example/hooks", "http://127.0.0.1:81": "http://127.0.0.1:81",
		"https://user:hush@shop.example/a":   "https://(hidden)@shop.example/a",
		"https://hush@shop.example/a":        "https://(hidden)@shop.example/a",
		"https://shop.example/a?key=hush&b=": "https://shop.example/a?(hidden)",
		"https://shop.example/a#hush":        "https://shop.example/a#(hidden)",
		"https://user:hu#sh@shop.example/":   "(hidden)", "https://shop.example:hush/": "(hidden)", "hush": "(hidden)", "https:hush@shop.example": "(hidden)",
	} {
		require.Equal(t, shown, whole.String(), string(whole))
		asJSON, err := json.Marshal(struct{ E Endpoint }{whole})
		require.NoError(t, err)
		require.NotContains(t, fmt.Sprintf("%v %+v %#v %s %q %s", whole, whole, whole, whole, whole, asJSON), "hush")
		require.Equal(t, shown, Endpoint(shown).String(), "what is shown can be read again")

		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, string(whole), nil)
		if err == nil {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, err = http.DefaultClient.Do(r.WithContext(ctx))
		}
		require.Error(t, err)
		require.NotContains(t, HideEndpoint(fmt.Errorf("told: %w", err)).Error(), "hush")
	}
}
