package payment

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

func TestTheStatementIsHeldAgainstTheBooksLineByLine(t *testing.T) {
	t.Parallel()
	day := time.Date(2026, 11, 11, 0, 0, 0, 0, time.UTC)
	at := func(h int) time.Time { return day.Add(time.Duration(h) * time.Hour) }
	pay := func(ref string, amount int64, h int) seckill.Booking {
		return seckill.Booking{Kind: "payment", Reference: ref, Amount: amount, Currency: "CNY", At: at(h)}
	}
	back := func(ref, refund string, amount int64, h int) seckill.Booking {
		return seckill.Booking{Kind: "refund", Reference: ref, Refund: refund, Amount: amount, Currency: "CNY", At: at(h)}
	}
	ours := []seckill.Booking{pay("same", 100, 1), pay("less", 90, 2), pay("ours", 5, 3), pay("yesterday for us", 7, -1), pay("tomorrow", 7, 30), back("same", "r1", -10, 4), back("same", "r2", -20, 5)}
	theirs := []seckill.Booking{pay("same", 100, 1), pay("less", 100, 2), pay("theirs", 6, 3), pay("yesterday for us", 7, 1), back("same", "", -20, 5), back("same", "r1", 10, 4)}
	var said []string
	for _, d := range differ(ours, theirs, day, day.AddDate(0, 0, 1)) {
		said = append(said, d.Reference+": "+d.What)
	}
	require.Equal(t, []string{"less: the amount differs", "theirs: only the provider has it", "ours: only we have it"}, said)
}

// booked is a store of bookings, and dated a provider of a statement.
type booked struct {
	Store
	ours []seckill.Booking
}

func (b *booked) Bookings(_ context.Context, from, to time.Time, each func(seckill.Booking) error) error {
	for _, v := range b.ours {
		if !v.At.Before(from) && v.At.Before(to) {
			if err := each(v); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *booked) BookingsOf(_ context.Context, _ seckill.Provider, references []string, each func(seckill.Booking) error) error {
	for _, v := range b.ours {
		if slices.Contains(references, v.Reference) {
			if err := each(v); err != nil {
				return err
			}
		}
	}
	return nil
}

type dated struct {
	Provider
	theirs []seckill.Booking
}

func (dated) Name() seckill.Provider { return seckill.ProviderShop }

func (d dated) Statement(_ context.Context, from, to time.Time) (all []seckill.Booking, err error) {
	for _, v := range d.theirs {
		if !v.At.Before(from) && v.At.Before(to) {
			all = append(all, v)
		}
	}
	return all, nil
}

// A line that the two date differently, by days, is no difference, on either day.
func TestDatesAreNoDifference(t *testing.T) {
	t.Parallel()
	day := time.Date(2026, 11, 11, 0, 0, 0, 0, time.UTC)
	line := func(kind, reference string, amount int64, after int) seckill.Booking {
		return seckill.Booking{Kind: kind, Provider: seckill.ProviderShop, Reference: reference, Amount: amount, Currency: "CNY", At: day.AddDate(0, 0, after).Add(time.Hour)}
	}
	store := &booked{ours: []seckill.Booking{line("payment", "told late", 100, 3), line("refund", "told late", -40, 3), line("payment", "ours", 5, 3), line("payment", "ahead", 6, 3)}}
	p := &Payments{Config: Config{Store: store, Provider: dated{theirs: []seckill.Booking{line("payment", "told late", 100, 0), line("refund", "told late", -40, 1), line("payment", "theirs", 7, 0), line("payment", "ahead", 6, 4)}}}}
	for after, want := range map[int]string{0: "theirs: only the provider has it", 1: "", 3: "ours: only we have it", 4: ""} {
		all, err := p.Differences(t.Context(), day.AddDate(0, 0, after), day.AddDate(0, 0, after+1))
		require.NoError(t, err)
		var said []string
		for _, d := range all {
			said = append(said, d.Reference+": "+d.What)
		}
		require.Equal(t, want, strings.Join(said, ", "), "day %d", after)
	}
}

// single is a provider that can be asked for single payments, and says how it was asked.
type single struct {
	dated
	periods int
	singles []string
}

func (s *single) Statement(ctx context.Context, from, to time.Time) ([]seckill.Booking, error) {
	s.periods++
	return s.dated.Statement(ctx, from, to)
}

func (s *single) StatementOf(_ context.Context, references []string) (all []seckill.Booking, err error) {
	s.singles = append(s.singles, references...)
	for _, v := range s.theirs {
		if slices.Contains(references, v.Reference) {
			all = append(all, v)
		}
	}
	return all, nil
}

// What only we have on a day is asked for by its reference, not in weeks of statements.
func TestWhatOnlyWeHaveIsAskedForByItself(t *testing.T) {
	t.Parallel()
	day := time.Date(2026, 11, 11, 0, 0, 0, 0, time.UTC)
	line := func(reference string, amount int64, after int) seckill.Booking {
		return seckill.Booking{Kind: "payment", Provider: seckill.ProviderShop, Reference: reference, Amount: amount, Currency: "CNY", At: day.AddDate(0, 0, after).Add(time.Hour)}
	}
	store := &booked{ours: []seckill.Booking{line("same", 100, 0), line("told a month late", 100, 0), line("ours", 5, 0)}}
	stripe := &single{dated: dated{theirs: []seckill.Booking{line("same", 100, 0), line("told a month late", 100, -30)}}}
	p := &Payments{Config: Config{Store: store, Provider: stripe}}
	all, err := p.Differences(t.Context(), day, day.AddDate(0, 0, 1))
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, "ours", all[0].Reference)
	require.Equal(t, []string{"ours", "told a month late"}, stripe.singles)
	require.Equal(t, 1, stripe.periods)

	for i := range singlesMost {
		store.ours = append(store.ours, line("more "+string(rune('!'+i)), 1, 0))
	}
	_, err = p.Differences(t.Context(), day, day.AddDate(0, 0, 1))
	require.NoError(t, err)
	require.Len(t, stripe.singles, 2, "so many are looked for in the longer time")
	require.Equal(t, 4, stripe.periods)
}

// A payment has two refunds of one amount, and the provider knows of the first one only: that
// one accounts for no other, on whatever day anybody looks, and whether or not the provider
// says which refund it is.
func TestARefundAccountsForNoOther(t *testing.T) {
	t.Parallel()
	day := time.Date(2026, 11, 11, 0, 0, 0, 0, time.UTC)
	for _, says := range []string{"r1", ""} {
		line := func(refund string, after int) seckill.Booking {
			return seckill.Booking{Kind: "refund", Provider: seckill.ProviderShop, Reference: "pay", Refund: refund, Amount: -50, Currency: "CNY", At: day.AddDate(0, 0, after).Add(time.Hour)}
		}
		p := &Payments{Config: Config{Store: &booked{ours: []seckill.Booking{line("r2", 1), line("r1", 0)}}, Provider: dated{theirs: []seckill.Booking{line(says, 0)}}}}
		for after, want := range []string{"", "r2: only we have it", ""} {
			all, err := p.Differences(t.Context(), day.AddDate(0, 0, after), day.AddDate(0, 0, after+1))
			require.NoError(t, err)
			said := ""
			for _, d := range all {
				said += d.Refund + ": " + d.What
			}
			require.Equal(t, want, said, "day %d, the provider says %q", after, says)
		}
	}
}
