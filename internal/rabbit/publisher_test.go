package rabbit

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"seckill"
)

func TestWhyAQueueRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name           string
		waiting, limit int
		proven         bool
		unknown        error
		full           bool
	}{
		{"full", 100, 100, true, nil, true},
		{"full, and others have taken some since", 80, 100, false, nil, true},
		{"full at a lower limit of the broker's", 10, 100, true, nil, true},
		{"nobody leads it", 0, 100, false, nil, false},
		{"nobody leads it any more", 0, 100, true, nil, false},
		{"led again, but this channel does not know", 10, 100, false, nil, false},
		{"nobody answers", 0, 100, true, errors.New("no answer"), false},
	} {
		err := whyRefused("q", c.waiting, c.limit, c.proven, c.unknown)
		require.Equal(t, c.full, err == nil, c.name)
		require.True(t, c.full || errors.Is(err, seckill.ErrUnavailable), c.name)
		if c.unknown != nil {
			require.ErrorIs(t, err, c.unknown, c.name)
		}
	}
}
