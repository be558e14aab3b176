package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/pflag"
)

// minorUnits is a flag's value that is money.
type minorUnits int64

// String and the two below make it a flag's value.
func (m *minorUnits) String() string { return strconv.FormatInt(int64(*m), 10) }

func (m *minorUnits) Type() string { return "units" }

func (m *minorUnits) Set(s string) error {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return errors.New("write whole minor units (cents, 分): 9900 is 99.00 CNY, 99 is 99 JPY")
	}
	*m = minorUnits(n)
	return nil
}

// sayWhatToWrite turns a flag's error from Go's words into the user's: which value
// the flag takes, instead of which function could not read it.
func sayWhatToWrite(err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return err
	}
	what, ok := map[string]string{
		"int": "a whole number, such as 500", "int64": "a whole number, such as 500", "float64": "a number, such as 0.5",
		"duration": "a duration, such as 90s, 10m or 24h", "bool": "true or false",
	}[invalid.GetFlag().Value.Type()]
	if !ok {
		return err // the value says it itself
	}
	return fmt.Errorf("--%s %q: write %s", invalid.GetFlag().Name, invalid.GetValue(), what)
}
