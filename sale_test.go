package seckill

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var noon = time.Date(2026, 11, 11, 12, 0, 0, 0, time.UTC)

// aSale is valid, and open from noon until one.
func aSale() Sale {
	return Sale{ID: 1, Title: "键盘", Price: 9900, Currency: "CNY", Total: 500, LimitPerBuyer: 2, OpensAt: noon, ClosesAt: noon.Add(time.Hour), HoldSeconds: 900}
}

func TestTheWindowOfASale(t *testing.T) {
	t.Parallel()
	closes := noon.Add(time.Hour)
	for _, c := range []struct {
		name          string
		paused, ended bool
		now           time.Time
		want          Verdict
	}{
		{"long before", false, false, noon.Add(-time.Hour), NotOpen},
		{"a moment before", false, false, noon.Add(-time.Nanosecond), NotOpen},
		{"the first moment", false, false, noon, Queued},
		{"between", false, false, noon.Add(time.Minute), Queued},
		{"the last moment", false, false, closes.Add(-time.Nanosecond), Queued},
		{"the first moment after", false, false, closes, Ended},
		{"long after", false, false, closes.Add(time.Hour), Ended},
		{"paused before", true, false, noon.Add(-time.Nanosecond), NotOpen},
		{"paused", true, false, noon, Paused},
		{"paused after", true, false, closes, Ended},
		{"ended before", false, true, noon.Add(-time.Hour), Ended},
		{"ended", false, true, noon, Ended},
		{"ended and paused", true, true, noon, Ended},
		{"in another zone", false, false, noon.In(time.FixedZone("CST", 8*3600)), Queued},
	} {
		s := aSale()
		s.Paused, s.Ended = c.paused, c.ended
		require.Equal(t, c.want, s.Window(c.now), c.name)
	}
}

func TestWhatASaleShows(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		paused, ended bool
		now           time.Time
		left          int64
		want          SaleState
	}{
		{"before", false, false, noon.Add(-1), 5, StateScheduled},
		{"open", false, false, noon, 5, StateOpen},
		{"nothing left", false, false, noon, 0, StateSoldOut},
		{"less than nothing left", false, false, noon, -1, StateSoldOut},
		{"nothing left before", false, false, noon.Add(-1), 0, StateScheduled},
		{"paused", true, false, noon, 5, StatePaused},
		{"paused with nothing left", true, false, noon, 0, StatePaused},
		{"after", false, false, noon.Add(time.Hour), 0, StateEnded},
		{"ended", true, true, noon, 5, StateEnded},
	} {
		s := aSale()
		s.Paused, s.Ended = c.paused, c.ended
		before := s
		shown := s.Show(c.now, c.left)
		require.Equal(t, c.want, shown.State, c.name)
		require.Equal(t, c.left, shown.Left, c.name)
		require.True(t, shown.ServerNow.Equal(c.now.Truncate(time.Millisecond)), c.name)
		require.Equal(t, time.UTC, shown.ServerNow.Location())
		require.Equal(t, before, s, "showing a sale does not change it")
	}
}

func TestWhatIsInternalDoesNotShow(t *testing.T) {
	t.Parallel()
	s := aSale()
	s.Paused, s.Ended, s.Sold, s.Version, s.Epoch = true, true, 7, 8, 9
	b, err := json.Marshal(s.Show(noon, 5))
	require.NoError(t, err)
	var v map[string]any
	require.NoError(t, json.Unmarshal(b, &v))
	for _, key := range []string{"paused", "ended", "sold", "version", "epoch", "description", "image", "list_price"} {
		require.NotContains(t, v, key)
	}
	require.Equal(t, "1", v["id"], "ids are strings")
	require.Equal(t, "2026-11-11T12:00:00Z", v["opens_at"])
	o, err := json.Marshal(Order{ID: "x", Buyer: "li.wei"})
	require.NoError(t, err)
	require.NotContains(t, string(o), "li.wei")
}

func TestWhatASaleMayBe(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Sale){
		"as it is":                   func(s *Sale) {},
		"the longest title":          func(s *Sale) { s.Title = strings.Repeat("字", MaxTitle) },
		"a title from right to left": func(s *Sale) { s.Title = "\u200fמקלדת \u200eUSB" },
		"emoji of several parts":     func(s *Sale) { s.Title = "👩\u200d💻 keyboard" },
		"markup":                     func(s *Sale) { s.Title = "<script>alert(1)</script>" },
		"the longest description":    func(s *Sale) { s.Description = strings.Repeat("字", MaxDescription) },
		"a description in lines":     func(s *Sale) { s.Description = "a\r\n\tb" },
		"an image elsewhere":         func(s *Sale) { s.Image = "https://example.com/a.png?x=1" },
		"an image here":              func(s *Sale) { s.Image = "/img/a.png" },
		"free":                       func(s *Sale) { s.Price = 0 },
		"the highest price":          func(s *Sale) { s.Price, s.ListPrice = MaxPrice, MaxPrice },
		"a list price below it":      func(s *Sale) { s.ListPrice = 1 },
		"one unit":                   func(s *Sale) { s.Total, s.LimitPerBuyer = 1, 1 },
		"the most units":             func(s *Sale) { s.Total, s.LimitPerBuyer = MaxTotal, MaxQuantity },
		"a limit above the total":    func(s *Sale) { s.Total, s.LimitPerBuyer = 1, 2 },
		"the longest hold":           func(s *Sale) { s.HoldSeconds = MaxHoldSeconds },
		"the shortest hold":          func(s *Sale) { s.HoldSeconds = 1 },
		"the longest window":         func(s *Sale) { s.ClosesAt = s.OpensAt.Add(MaxWindow) },
		"the shortest window":        func(s *Sale) { s.ClosesAt = s.OpensAt.Add(time.Millisecond) },
		"long ago":                   func(s *Sale) { s.OpensAt, s.ClosesAt = noon.AddDate(-50, 0, 0), noon.AddDate(-50, 0, 1) },
		"the last year that we know": func(s *Sale) { s.OpensAt = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC); s.ClosesAt = s.OpensAt.Add(1) },
	} {
		s := aSale()
		change(&s)
		require.NoError(t, s.Validate(), name)
	}
}

func TestWhatASaleMayNotBe(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		field  string
		change func(*Sale)
	}{
		{"title", func(s *Sale) { s.Title = "" }},
		{"title", func(s *Sale) { s.Title = " \u3000 " }},
		{"title", func(s *Sale) { s.Title = strings.Repeat("字", MaxTitle+1) }},
		{"title", func(s *Sale) { s.Title = "a\nb" }},
		{"title", func(s *Sale) { s.Title = "a\x00b" }},
		{"title", func(s *Sale) { s.Title = "a\x7fb" }},
		{"title", func(s *Sale) { s.Title = "a\u0085b" }},
		{"title", func(s *Sale) { s.Title = "a\xffb" }},
		{"title", func(s *Sale) { s.Title = "a\u202eb" }},
		{"title", func(s *Sale) { s.Title = "a\u2066b" }},
		{"title", func(s *Sale) { s.Title = "a\u2028b" }},
		{"title", func(s *Sale) { s.Title = "\ufeffa" }},
		{"description", func(s *Sale) { s.Description = "a\u202eb" }},
		{"image", func(s *Sale) { s.Image = `/\evil.example/x` }},
		{"image", func(s *Sale) { s.Image = `/img\..\x.png` }},
		{"image", func(s *Sale) { s.Image = `https://example.com\@evil.example/x` }},
		{"image", func(s *Sale) { s.Image = "https://example.com@evil.example/x" }},
		{"description", func(s *Sale) { s.Description = strings.Repeat("a", MaxDescription+1) }},
		{"description", func(s *Sale) { s.Description = "a\x00b" }},
		{"description", func(s *Sale) { s.Description = "\xff" }},
		{"image", func(s *Sale) { s.Image = "a.png" }},
		{"image", func(s *Sale) { s.Image = "//example.com/a.png" }},
		{"image", func(s *Sale) { s.Image = "javascript:alert(1)" }},
		{"image", func(s *Sale) { s.Image = "data:image/png;base64,AA" }},
		{"image", func(s *Sale) { s.Image = "https:///a.png" }},
		{"image", func(s *Sale) { s.Image = "https:a.png" }},
		{"image", func(s *Sale) { s.Image = "/a\n.png" }},
		{"image", func(s *Sale) { s.Image = "/" + strings.Repeat("a", MaxImage) }},
		{"image", func(s *Sale) { s.Image = " " }},
		{"price", func(s *Sale) { s.Price = -1 }},
		{"price", func(s *Sale) { s.Price = MaxPrice + 1 }},
		{"price", func(s *Sale) { s.Price = math.MinInt64 }},
		{"list_price", func(s *Sale) { s.ListPrice = -1 }},
		{"list_price", func(s *Sale) { s.ListPrice = math.MaxInt64 }},
		{"currency", func(s *Sale) { s.Currency = "" }},
		{"currency", func(s *Sale) { s.Currency = "cny" }},
		{"currency", func(s *Sale) { s.Currency = "CNYY" }},
		{"currency", func(s *Sale) { s.Currency = "C1Y" }},
		{"currency", func(s *Sale) { s.Currency = "CÑY" }},
		{"currency", func(s *Sale) { s.Currency = "ABC" }},
		{"currency", func(s *Sale) { s.Currency = "DEM" }},
		{"total", func(s *Sale) { s.Total = 0 }},
		{"total", func(s *Sale) { s.Total = -1 }},
		{"total", func(s *Sale) { s.Total = MaxTotal + 1 }},
		{"limit_per_buyer", func(s *Sale) { s.LimitPerBuyer = 0 }},
		{"limit_per_buyer", func(s *Sale) { s.LimitPerBuyer = MaxQuantity + 1 }},
		{"opens_at", func(s *Sale) { s.OpensAt = time.Time{} }},
		{"opens_at", func(s *Sale) { s.OpensAt = time.Date(1969, 12, 31, 23, 59, 59, 0, time.UTC) }},
		{"opens_at", func(s *Sale) { s.OpensAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }},
		{"closes_at", func(s *Sale) { s.ClosesAt = time.Time{} }},
		{"closes_at", func(s *Sale) { s.ClosesAt = s.OpensAt }},
		{"closes_at", func(s *Sale) { s.ClosesAt = s.OpensAt.Add(-1) }},
		{"closes_at", func(s *Sale) { s.ClosesAt = s.OpensAt.Add(MaxWindow + 1) }},
		{"closes_at", func(s *Sale) {
			s.OpensAt, s.ClosesAt = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
		}},
		{"hold_seconds", func(s *Sale) { s.HoldSeconds = 0 }},
		{"hold_seconds", func(s *Sale) { s.HoldSeconds = MaxHoldSeconds + 1 }},
	} {
		s := aSale()
		c.change(&s)
		var field *FieldError
		require.ErrorAs(t, s.Validate(), &field, "%s: %+v", c.field, s)
		require.Equal(t, c.field, field.Field, "%+v", s)
		require.True(t, strings.HasPrefix(field.Must, "must be"), field.Must)
	}
}

func TestAChangeMakesNothingWrong(t *testing.T) {
	t.Parallel()
	was := aSale()
	was.Currency, was.Title, was.Access = "ABC", "a\u202eb", Access{Challenge: "riddle"}
	is := was
	is.Paused, is.Notice, is.Image = true, "hello", "/img/a.png"
	require.NoError(t, is.ValidateChange(&was), "what was wrong before, and stays")
	for field, change := range map[string]func(*Sale){
		"title":           func(s *Sale) { s.Title = "a\u202ec" },
		"currency":        func(s *Sale) { s.Currency = "DEM" },
		"notice":          func(s *Sale) { s.Notice = "\x00" },
		"challenge":       func(s *Sale) { s.TriesPerBuyer = 2 },
		"closes_at":       func(s *Sale) { s.ClosesAt = s.OpensAt },
		"limit_per_buyer": func(s *Sale) { s.LimitPerBuyer = 0 },
	} {
		is := was
		change(&is)
		var wrong *FieldError
		require.ErrorAs(t, is.ValidateChange(&was), &wrong, field)
		require.Equal(t, field, wrong.Field)
	}
	is.Title, is.Currency = "a sale", "CNY"
	require.NoError(t, is.ValidateChange(&was))
	require.Error(t, is.Validate())
}

func TestWhoMayBeABuyer(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"a", "买家 7", strings.Repeat("字", 64), "<&\"'\\", "é"} {
		require.True(t, ValidBuyer(s), "%q", s)
	}
	for _, s := range []string{"", "a\x00", "a\nb", "a\u200bb", "a\u202eb", "\xff", "a\xff", strings.Repeat("a", 65), "\u2028", "\u3000"} {
		require.False(t, ValidBuyer(s), "%q", s)
	}
}

// A sale has one way to write its id, and nothing else names it.
func FuzzParseSaleID(f *testing.F) {
	for _, s := range []string{"1", "0", "-1", "+1", "01", "1.0", "9223372036854775807", "9223372036854775808", "1;drop", "../", "", " 1", "1 ", "1_000", "0x1", "１", "١", "1e3", "\x00", "1\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseSaleID(s)
		n, perr := strconv.ParseInt(s, 10, 64)
		names := perr == nil && n > 0 && strconv.FormatInt(n, 10) == s
		require.Equal(t, names, err == nil, "%q", s)
		if err != nil {
			require.ErrorIs(t, err, ErrNotFound)
			require.Zero(t, id)
			return
		}
		require.Equal(t, s, id.String())
		b, err := json.Marshal(id)
		require.NoError(t, err)
		require.Equal(t, strconv.Quote(s), string(b))
		var again SaleID
		require.NoError(t, json.Unmarshal(b, &again))
		require.Equal(t, id, again)
	})
}

func TestASaleIDInJSONIsAString(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{`1`, `"0"`, `""`, `"x"`, `true`, `[]`, `"-1"`} {
		var id SaleID
		require.Error(t, json.Unmarshal([]byte(bad), &id), bad)
		require.Zero(t, id)
	}
}

func TestAFieldErrorReadsAsASentence(t *testing.T) {
	t.Parallel()
	var err error = &FieldError{"total", "must be 1 to 5 units"}
	require.EqualError(t, err, "total must be 1 to 5 units")
	require.False(t, errors.Is(err, ErrState))
}
