package seckill

import (
	"log/slog"
	"strconv"
)

// Secret is a text that never shows itself: not printed, not in JSON, not in logs
// of whatever contains it. Convert it to a string to use it.
type Secret string

// Hidden stands where a secret was.
const Hidden = "(hidden)"

// String hides the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return Hidden
}

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// MarshalText hides the secret in JSON.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue hides the secret in logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
