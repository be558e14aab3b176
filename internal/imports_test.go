// Package internal_test holds what no single package can: the rule of who may
// import whom.
package internal_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The two packages that the rule treats apart.
const (
	root = "seckill"
	app  = "seckill/internal/app"
)

// stages are the path of a purchase. A stage knows the nouns, not its neighbours.
var stages = []string{"seckill/internal/api", "seckill/internal/gate", "seckill/internal/queue", "seckill/internal/settle", "seckill/internal/store"}

// may says what a package may import of this module besides the root and what is
// allowed to everybody. A package that is not listed may import nothing more.
var may = map[string][]string{
	"seckill/internal/api":   {"seckill/internal/access", "seckill/internal/account", "seckill/internal/sale", "seckill/internal/order", "seckill/internal/payment", "seckill/internal/live", packed},
	"seckill/internal/web":   {packed},
	"seckill/internal/stack": {"seckill/deploy/nginx"}, // what it starts is what is shipped
	"seckill/internal/load":  {"seckill/internal/client"},
	// Tickets and events share the connection to RabbitMQ.
	"seckill/internal/queue/rabbitmq": {"seckill/internal/rabbit"},
	"seckill/internal/event":          {"seckill/internal/rabbit"},
	// What tests share.
	stacktest:                            {"seckill/internal/stack"},
	"seckill/internal/rabbit/rabbittest": {"seckill/internal/rabbit", "seckill/internal/stack", stacktest},
}

// stacktest gives tests their engines.
const stacktest = "seckill/internal/stack/stacktest"

// packed is how an answer is compressed, for the two packages that answer.
const packed = "seckill/internal/packed"

// drivers are the clients of other systems and the libraries of their formats, and which folders may import them. No type of
// a driver crosses the boundary of a package, so each can be exchanged in one place.
// Programs below e2e and tests drive engines as they like.
var drivers = map[string][]string{
	"github.com/rabbitmq/amqp091-go":                              {"seckill/internal/rabbit", "seckill/internal/stack", "seckill/examples/shop"},
	"github.com/redis/rueidis":                                    {"seckill/internal/gate", "seckill/internal/stack"},
	"github.com/go-sql-driver/mysql":                              {"seckill/internal/store", "seckill/internal/stack"},
	"github.com/altcha-org/altcha-lib-go":                         {"seckill/internal/access"},
	"github.com/dchest/captcha":                                   {"seckill/internal/access"},
	"github.com/stripe/stripe-go/v84":                             {"seckill/internal/payment"},
	"github.com/stripe/stripe-go/v84/webhook":                     {"seckill/internal/payment"},
	"github.com/standard-webhooks/standard-webhooks/libraries/go": {"seckill/internal/payment", "seckill/examples/receiver"},
	"github.com/pquerna/otp":                                      {"seckill/internal/account"},
	"modernc.org/sqlite":                                          {"seckill/internal/store", "seckill/internal/gate", "seckill/examples/shop"},
}

// below reports whether a package is one of the folders, or is in one of them.
func below(pkg string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return pkg == f || strings.HasPrefix(pkg, f+"/") })
}

// helper reports whether a package is there for tests: its name says so.
func helper(pkg string) bool {
	return strings.HasPrefix(pkg, "seckill/internal/") && strings.HasSuffix(pkg, "test")
}

// everybody may import the marks at which a test kills the process, which are empty
// functions in every other build, what every resident duty needs, and the rooms
// that bound what is scarce.
var everybody = []string{"seckill/internal/crash", "seckill/internal/duty", "seckill/internal/room"}

// engines may import how an engine's own CA is read: a stage, a backend of one, or
// the connection to RabbitMQ.
const engines = "seckill/internal/ca"

// allowed is the rule: it says why a package may not import another one of this
// module, or nothing.
func allowed(importer, imported string) string {
	stage := below(imported, stages)
	// A command or a test program may use what is not a stage; cmd is the only one
	// that starts the application.
	command := strings.HasPrefix(importer, "seckill/cmd/") || strings.HasPrefix(importer, "seckill/e2e")
	switch {
	case helper(imported) && !helper(importer) && !strings.HasPrefix(importer, "seckill/e2e"):
		return "what tests share is no part of what is shipped"
	case drivers[imported] != nil:
		if below(importer, drivers[imported]) || strings.HasPrefix(importer, "seckill/e2e/") {
			return ""
		}
		return "no type of a driver crosses the boundary of a package"
	case importer == root:
		return "the vocabulary imports nothing of the house"
	case imported == root || slices.Contains(everybody, imported) || strings.HasPrefix(imported, importer+"/"):
		return ""
	case slices.Contains(everybody, importer):
		return "what everybody imports imports nothing"
	case imported == engines && (below(importer, stages) || importer == "seckill/internal/rabbit"):
		return ""
	case importer == app:
		return ""
	case strings.HasPrefix(importer, "seckill/cmd/"):
		return ""
	case slices.Contains(may[importer], imported):
		return ""
	case stage && strings.HasPrefix(importer, imported+"/"):
		return "" // a backend in a folder below its stage uses what the stage's backends share
	case stage && below(importer, stages):
		return "a stage knows the nouns, not its neighbours"
	case stage:
		return "only internal/app and cmd import stages"
	case imported == app:
		return "only cmd starts the application"
	case command:
		return ""
	}
	return "each arrow is an interface declared by the package that calls it"
}

func TestPackagesImportWhatTheyMay(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	err := filepath.WalkDir("..", func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			name := entry.Name()
			if name != ".." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "tools") {
				return fs.SkipDir
			}
			return nil
		}
		// A test may put together what it likes.
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel("..", filepath.Dir(file))
		if err != nil {
			return err
		}
		importer := path.Join(root, filepath.ToSlash(rel))
		seen[importer]++
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if imported != root && !strings.HasPrefix(imported, root+"/") && drivers[imported] == nil {
				continue
			}
			if why := allowed(importer, imported); why != "" {
				t.Errorf("%s imports %s: %s", filepath.ToSlash(file), imported, why)
			}
		}
		return nil
	})
	require.NoError(t, err)
	for _, p := range append(append(stages, root, app), everybody...) {
		assert.Positive(t, seen[p], "%s was not looked at", p)
	}
}

func TestTheRuleItself(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		importer, imported string
		ok                 bool
	}{
		{"seckill/internal/gate", "seckill", true},
		{"seckill/internal/gate", "seckill/internal/crash", true},
		{"seckill/internal/gate", "seckill/internal/store", false},
		{"seckill/internal/gate/redisgate", "seckill/internal/gate", true},
		{"seckill/internal/gate/redisgate", "seckill/internal/queue", false},
		{"seckill/internal/store/some", "seckill/internal/gate", false},
		{"seckill/internal/settle", "seckill/internal/queue", false},
		{"seckill/internal/api", "seckill/internal/gate", false},
		{"seckill/internal/api", "seckill/internal/sale", true},
		{"seckill/internal/api", "seckill/internal/web", false},
		{"seckill/internal/store", "seckill/internal/sale", false},
		{"seckill/internal/sale", "seckill/internal/store", false},
		{"seckill/internal/order", "seckill/internal/gate", false},
		{"seckill/internal/order", "seckill/internal/sale", false},
		{"seckill/internal/account", "seckill/internal/store", false},
		{"seckill/internal/web", "seckill/internal/api", false},
		{"seckill/internal/load", "seckill/internal/gate", false},
		{"seckill/internal/stack", "seckill/internal/queue", false},
		{"seckill/internal/app", "seckill/internal/gate", true},
		{"seckill/internal/app", "seckill/internal/web", true},
		{"seckill/internal/load", "seckill/internal/app", false},
		{"seckill/cmd/seckill", "seckill/internal/app", true},
		{"seckill/cmd/seckill", "seckill/internal/queue", true},
		{"seckill/cmd/seckill", "seckill/internal/stack", true},
		{"seckill/cmd/seckill", stacktest, false},
		{"seckill/internal/app", stacktest, false},
		{"seckill/internal/stack", stacktest, false},
		{"seckill/internal/gate", "seckill/internal/gate/gatetest", false},
		{"seckill/e2e/suite", stacktest, true},
		{"seckill/internal/rabbit/rabbittest", stacktest, true},
		{stacktest, "seckill/internal/stack", true},
		{stacktest, "seckill/internal/rabbit", false},
		{"seckill", "seckill/internal/crash", false},
		{"seckill", "seckill/internal/app", false},
		{"seckill/internal/crash", "seckill", true},
		{"seckill/internal/web", "seckill/internal/web/console", true},
		{"seckill/internal/queue/rabbitmq", "seckill/internal/rabbit", true},
		{"seckill/internal/queue", "seckill/internal/rabbit", false},
		{"seckill/internal/event", "seckill/internal/queue/rabbitmq", false},
		{"seckill/internal/settle", "seckill/internal/queue/rabbitmq", false},
		{"seckill/internal/settle", "seckill/internal/duty", true},
		{"seckill/internal/rabbit", "github.com/rabbitmq/amqp091-go", true},
		{"seckill/internal/queue/rabbitmq", "github.com/rabbitmq/amqp091-go", false},
		{"seckill/internal/event", "github.com/rabbitmq/amqp091-go", false},
		{"seckill/internal/app", "github.com/redis/rueidis", false},
		{"seckill/internal/api", "github.com/altcha-org/altcha-lib-go", false},
		{"seckill/internal/event", "github.com/standard-webhooks/standard-webhooks/libraries/go", false},
	} {
		assert.Equal(t, tt.ok, allowed(tt.importer, tt.imported) == "", "%s → %s", tt.importer, tt.imported)
	}
}
