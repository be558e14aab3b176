package stacktest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"seckill/internal/stack"
)

// LentVariable in the environment names a file of engines that one process has started
// and lends to the tests of all others, see [Lend].
const LentVariable = "SECKILL_TEST_ENGINES"

// lentFile is that file, in a stack's folder.
const lentFile = "lent.json"

// Lend lets other processes of this machine use the running engines of a stack with a
// temporary folder, in their tests: [Shared] takes them instead of starting its own.
// setting, NAME=value, belongs into their environment.
func Lend(s *stack.Stack) (setting string, err error) {
	dir := s.TempDir()
	if dir == "" {
		return "", fmt.Errorf("only engines that keep nothing are lent to tests")
	}
	all := map[stack.Kind]stack.Loan{}
	for _, e := range s.Engines() {
		all[e.Kind()] = e.Loan()
	}
	b, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, lentFile)
	return LentVariable + "=" + file, os.WriteFile(file, b, 0o600)
}

// borrow is the engine that another process lends, or nil if it lends none of that
// kind.
func borrow(kind stack.Kind) (*stack.Engine, error) {
	file := os.Getenv(LentVariable)
	if file == "" {
		return nil, nil
	}
	e, err := borrowFrom(file, kind)
	if err != nil {
		return nil, fmt.Errorf("%s=%s: %w; unset it, and the tests start engines of their own", LentVariable, file, err)
	}
	return e, nil
}

func borrowFrom(file string, kind stack.Kind) (*stack.Engine, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all map[stack.Kind]stack.Loan
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, err
	}
	l, here := all[kind]
	if !here {
		return nil, nil
	}
	return stack.Borrow(kind, l)
}
