package internal_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// longest is how many lines a Go file may have without saying why it has more.
const longest = 500

// A file holds one subject. One that is longer than most begins with the reason, in a
// comment with the words "long because".
func TestALongFileSaysWhy(t *testing.T) {
	t.Parallel()
	files := 0
	require.NoError(t, filepath.WalkDir("..", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(file) != ".go" {
			return err
		}
		files++
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		lines := strings.SplitAfter(string(b), "\n")
		if len(lines)-1 > longest {
			assert.True(t, bytes.Contains([]byte(strings.Join(lines[:20], "")), []byte("long because")), "%s has %d lines: divide it by subject, or say at its top that it is long because …", file, len(lines)-1)
		}
		return nil
	}))
	require.Greater(t, files, 100)
}
