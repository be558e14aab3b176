package seckill

import (
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/currency"
)

func TestACurrencyHasTheDigitsOfISO4217(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]int{"CNY": 2, "USD": 2, "EUR": 2, "JPY": 0, "KRW": 0, "VND": 0, "KWD": 3, "BHD": 3, "IDR": 2, "IQD": 3, "HUF": 2, "MRU": 2, "XCG": 2} {
		digits, ok := currencyDigits(code)
		require.True(t, ok, code)
		require.Equal(t, want, digits, code)
	}
	for _, code := range []string{"", "ABC", "cny", "XXX", "XTS", "XAU", "DEM", "CNYY"} {
		_, ok := currencyDigits(code)
		require.False(t, ok, code)
	}
}

// The library's data are those of 2017: what it knows as tender is in our table,
// but for what has been withdrawn since.
func TestEveryTenderIsACurrency(t *testing.T) {
	t.Parallel()
	withdrawn := []string{"ANG", "BGN", "BYR", "CUC", "HRK", "LTL", "MRO", "SLL", "STD", "VEF", "ZWL", "CHE", "CHW", "USN", "UYI"}
	for it := currency.Query(); it.Next(); {
		code := it.Unit().String()
		if slices.Contains(withdrawn, code) {
			continue
		}
		_, ok := currencyDigits(code)
		require.True(t, ok, code)
	}
}

func TestMoneyIsWrittenWithTheDigitsOfItsCurrency(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		minor    int64
		currency string
		want     string
	}{
		{9900, "CNY", "99.00 CNY"},
		{9905, "CNY", "99.05 CNY"},
		{5, "CNY", "0.05 CNY"},
		{0, "CNY", "0.00 CNY"},
		{-5, "CNY", "-0.05 CNY"},
		{-9900, "CNY", "-99.00 CNY"},
		{9900, "JPY", "9900 JPY"},
		{0, "JPY", "0 JPY"},
		{9900, "KWD", "9.900 KWD"},
		{-5, "KWD", "-0.005 KWD"},
		{math.MinInt64, "CNY", "-92233720368547758.08 CNY"},
		{9900, "ABC", "9900 minor units of ABC"},
	} {
		require.Equal(t, c.want, FormatMoney(c.minor, c.currency))
	}
}

// The pages divide by the same digits.
func TestThePagesHaveTheSameCurrencies(t *testing.T) {
	t.Parallel()
	module, err := os.ReadFile("internal/web/storefront/static/i18n.js")
	require.NoError(t, err)
	for digits, codes := range map[string]string{"0": currencies[0], "3": currencies[3]} {
		m := regexp.MustCompile(digits + `: '([A-Z ]+)'`).FindSubmatch(module)
		require.NotNil(t, m, digits)
		require.Equal(t, strings.Fields(codes), strings.Fields(string(m[1])), digits)
	}
}
