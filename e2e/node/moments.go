package node

import (
	"slices"
	"strings"
)

// Moment is one at which a node built with the tag "crash" can be told to die: a
// mark in the code and a line of docs/ORDER-CYCLE.md.
type Moment struct {
	Name string
	Nth  int // so often it has passed before that there is something to lose
}

// Moments are all of them, by step of the order's cycle.
var Moments = []Moment{
	{"1-before-answer", 5},
	{"2-before-commit", 10},
	{"2-after-commit", 10},
	{"3-before-answer", 20},
	{"4-before-publish", 8},
	{"4-before-confirm", 8},
	{"5-before-store", 6},
	{"5-before-commit", 6},
	{"5-after-commit", 6},
	{"6-before-finish", 6},
	{"7-before-ack", 6},
	{"8-before-result", 12},
	{"9-before-commit", 20},
	{"9-before-release", 20},
	{"9-after-release", 20},
	{"10-before-open", 4}, // the crowd's first three sales are there
	{"10-before-apply", 3},
	{"10-after-apply", 3},
	{"11-grow-before-gate", 5},
	{"11-grow-after-gate", 5},
	{"11-shrink-before-gate", 5},
	{"11-shrink-after-gate", 2},
	{"12-before-snapshot", 1},
	{"12-before-load", 1},
	{"12-after-load", 1},
	{"13-start-before-commit", 6},
	{"13-start-before-url", 6},
	{"13-outage-before-commit", 1},
	{"13-before-commit", 8},
	{"13-before-closed", 1},
	{"14-after-reserve", 3},
	{"14-before-retake", 3},
	{"14-before-commit", 3},
	{"15-whole-before-commit", 3},
	{"15-aside-before-commit", 3},
	{"15-before-commit", 3},
	{"15-before-refund", 4},
	{"15-before-confirm", 3},
	{"16-before-commit", 3},
	{"17-before-commit", 4},
	{"17-before-delivered", 6},
}

// Purchases are the moments that a crowd of buyers comes to, those of steps 1 to 12.
// The others are of money (13 to 16) and of webhooks (17).
var Purchases = Moments[:money]

// Payments are those that payers come to. Their shop's payments are not ended: that is
// Stripe's, in TestDieAt.
var Payments = slices.DeleteFunc(slices.Clone(Moments[money:]), func(m Moment) bool { return m.Name == "13-before-closed" })

var money = slices.IndexFunc(Moments, func(m Moment) bool { return strings.HasPrefix(m.Name, "13-") })
