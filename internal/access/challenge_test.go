package access

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image/png"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/altcha-org/altcha-lib-go"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"seckill"
)

// solve does what a page does: it works, and reads the formula with the secret in the
// place of eyes.
func solve(t testing.TB, about string, p Puzzle) (s Solution) {
	t.Helper()
	if p.Work != nil {
		s.Work = work(t, altcha.Challenge(*p.Work))
	}
	if p.Formula != "" {
		var err error
		s.Formula = p.Formula
		s.Answer, err = Answer(theSecret, about, p.Formula)
		require.NoError(t, err)
	}
	return s
}

func work(t testing.TB, c altcha.Challenge) string {
	t.Helper()
	found, err := altcha.SolveChallenge(c.Challenge, c.Salt, altcha.SHA256, int(c.MaxNumber), 0, nil)
	require.NoError(t, err)
	require.NotNil(t, found, "the number is not above maxNumber")
	b, err := json.Marshal(altcha.Payload{Algorithm: c.Algorithm, Challenge: c.Challenge, Number: int64(found.Number), Salt: c.Salt, Signature: c.Signature})
	require.NoError(t, err)
	return base64.StdEncoding.EncodeToString(b)
}

// Who holds the secret knows the answers; the load generator plays people with that.
func TestTheSecretSolvesWhatPeopleSolve(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	about := ForSale(7, "li.wei")
	p, err := n.Puzzle(t.Context(), seckill.ChallengeBoth, about, Asker{Buyer: "li.wei"}, "")
	require.NoError(t, err)
	s, hashes, err := Solve(theSecret, about, p)
	require.NoError(t, err)
	require.Equal(t, solve(t, about, p), s)
	require.Positive(t, hashes)
	require.LessOrEqual(t, hashes, p.Work.MaxNumber+1)
	require.NoError(t, n.Solved(t.Context(), seckill.ChallengeBoth, about, Asker{Buyer: "li.wei"}, s))
	wrong, _, err := Solve(newSecret, about, p)
	require.ErrorIs(t, err, ErrWrong)
	require.ErrorIs(t, n.Solved(t.Context(), seckill.ChallengeWork, about, Asker{Buyer: "li.wei"}, wrong), ErrWrong)
}

func TestAPassCostsWhatTheSaleAsks(t *testing.T) {
	t.Parallel()
	for _, kind := range []seckill.Challenge{seckill.ChallengeFormula, seckill.ChallengeWork, seckill.ChallengeBoth} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			sale, who := n.sale(seckill.Access{Challenge: kind}), Asker{Buyer: "li.wei", Address: here}
			about := ForSale(sale.ID, who.Buyer)
			_, _, _, err := n.Pass(t.Context(), sale, who, Solution{})
			require.ErrorIs(t, err, ErrUnsolved)
			p, err := n.Puzzle(t.Context(), kind, about, who, "")
			require.NoError(t, err)
			require.Equal(t, kind.Work(), p.Work != nil)
			require.Equal(t, kind.Formula(), strings.HasPrefix(p.Picture, "data:image/png;base64,"))
			solution := solve(t, about, p)
			pass, _, _, err := n.Pass(t.Context(), sale, who, solution)
			require.NoError(t, err)
			require.NoError(t, n.Admit(sale.ID, who, pass, nowhere))

			_, _, _, err = n.Pass(t.Context(), sale, who, solution)
			require.ErrorIs(t, err, ErrWrong, "replayed")
		})
	}
}

func TestASolvedChallengeIsOfOneBuyerAndOneSale(t *testing.T) {
	t.Parallel()
	for _, kind := range []seckill.Challenge{seckill.ChallengeFormula, seckill.ChallengeWork} {
		n := newNode(t)
		sale := n.sale(seckill.Access{Challenge: kind})
		about := ForSale(sale.ID, "li.wei")
		p, err := n.Puzzle(t.Context(), kind, about, Asker{Buyer: "li.wei", Address: here}, "")
		require.NoError(t, err)
		s := solve(t, about, p)
		// Shared by a thousand buyers: none of them gets a pass for it.
		for i := range 1000 {
			_, _, _, err := n.Pass(t.Context(), sale, Asker{Buyer: fmt.Sprintf("farmer-%d", i), Address: here}, s)
			require.ErrorIs(t, err, ErrWrong)
		}
		p, err = n.Puzzle(t.Context(), kind, about, Asker{Buyer: "li.wei", Address: here}, "")
		require.NoError(t, err)
		require.ErrorIs(t, n.Solved(t.Context(), kind, ForSale(8, "li.wei"), Asker{Buyer: "li.wei"}, solve(t, about, p)), ErrWrong, "another sale's")
	}
}

func TestOneOfManyWhoSendTheSameSolutionGetsAPass(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	sale, who := n.sale(seckill.Access{Challenge: seckill.ChallengeBoth}), Asker{Buyer: "li.wei", Address: here}
	p, err := n.Puzzle(t.Context(), seckill.ChallengeBoth, ForSale(7, who.Buyer), who, "")
	require.NoError(t, err)
	s := solve(t, ForSale(7, who.Buyer), p)
	var passes atomic.Int64
	var g errgroup.Group
	for range 100 {
		g.Go(func() error {
			_, _, _, err := n.Pass(t.Context(), sale, who, s)
			var later *Later // who is wrong so often waits
			switch {
			case err == nil:
				passes.Add(1)
			case !errors.Is(err, ErrWrong) && !errors.As(err, &later):
				return err
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	require.EqualValues(t, 1, passes.Load())
}

func TestAChallengeEnds(t *testing.T) {
	t.Parallel()
	for _, kind := range []seckill.Challenge{seckill.ChallengeFormula, seckill.ChallengeWork} {
		n := newNode(t)
		about := ForSale(7, "li.wei")
		p, err := n.Puzzle(t.Context(), kind, about, Asker{Buyer: "li.wei"}, "")
		require.NoError(t, err)
		s := solve(t, about, p)
		n.clock.pass(n.ChallengeLife + 2*leeway)
		require.ErrorIs(t, n.Solved(t.Context(), kind, about, Asker{Buyer: "li.wei"}, s), ErrWrong, kind)
	}
}

func TestAFormulaIsAnsweredOnce(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	about := ForSale(7, "li.wei")
	p, err := n.Puzzle(t.Context(), seckill.ChallengeFormula, about, Asker{Buyer: "li.wei"}, "")
	require.NoError(t, err)
	right := solve(t, about, p)
	require.ErrorIs(t, n.Solved(t.Context(), seckill.ChallengeFormula, about, Asker{Buyer: "li.wei"}, Solution{Formula: p.Formula, Answer: "1000"}), ErrWrong)
	require.ErrorIs(t, n.Solved(t.Context(), seckill.ChallengeFormula, about, Asker{Buyer: "li.wei"}, right), ErrWrong, "all answers could be tried")
}

func TestAnAnswerMayBeWrittenWithAnyKeyboard(t *testing.T) {
	t.Parallel()
	require.Equal(t, "42", plain(" ４２　"))
}

func TestForgedSolutionsAreWrong(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	about := ForSale(7, "li.wei")
	easy, err := altcha.CreateChallenge(altcha.ChallengeOptions{Algorithm: altcha.SHA256, MaxNumber: 1, HMACKey: "a key of mine"})
	require.NoError(t, err)
	for name, s := range map[string]Solution{
		"another key": {Work: work(t, easy)}, "not base64": {Work: "~"}, "not JSON": {Work: "YQ=="}, "empty object": {Work: "e30="},
	} {
		require.ErrorIs(t, n.Solved(t.Context(), seckill.ChallengeWork, about, Asker{Buyer: "li.wei"}, s), ErrWrong, name)
	}
	for name, formula := range map[string]string{"short": "AAAA", "garbage": strings.Repeat("A", 75), "not base64": "~"} {
		require.ErrorIs(t, n.Solved(t.Context(), seckill.ChallengeFormula, about, Asker{Buyer: "li.wei"}, Solution{Formula: formula, Answer: "7"}), ErrWrong, name)
	}
}

func TestWithoutAWordWhetherItIsUsedNobodyGetsAPass(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(c *Config) { c.Nodes = gone{} })
	about := ForSale(7, "li.wei")
	p, err := n.Puzzle(t.Context(), seckill.ChallengeWork, about, Asker{Buyer: "li.wei"}, "")
	require.NoError(t, err)
	require.ErrorIs(t, n.Solved(t.Context(), seckill.ChallengeWork, about, Asker{Buyer: "li.wei"}, solve(t, about, p)), seckill.ErrUnavailable)
}

type gone struct{}

func (gone) Once(context.Context, string, time.Duration) (bool, error) {
	return false, seckill.ErrUnavailable
}

func (gone) Delay(context.Context, string, time.Duration) (time.Duration, error) {
	return 0, seckill.ErrUnavailable
}

func (gone) Distinct(context.Context, string, string, time.Duration) (int, error) {
	return 0, seckill.ErrUnavailable
}

// A foreign captcha takes the formula's place: none is drawn, and none is accepted.
func TestAForeignCaptchaIsOneFunction(t *testing.T) {
	t.Parallel()
	asked := ""
	plain, n := newNode(t), newNode(t, func(c *Config) {
		c.Foreign = func(_ context.Context, who Asker, response string) error {
			asked = who.Buyer
			if response != "passed" {
				return fmt.Errorf("the captcha of somebody else: %w", ErrWrong)
			}
			return nil
		}
	})
	sale, who := n.sale(seckill.Access{Challenge: seckill.ChallengeFormula}), Asker{Buyer: "li.wei", Address: here}
	about := ForSale(sale.ID, who.Buyer)
	pass := func(s Solution) error {
		_, _, _, err := n.Pass(t.Context(), sale, who, s)
		return err
	}
	p, err := n.Puzzle(t.Context(), sale.Challenge, about, who, "")
	require.NoError(t, err)
	require.Equal(t, Puzzle{Kind: seckill.ChallengeFormula, ExpiresAt: p.ExpiresAt}, p)
	p, err = plain.Puzzle(t.Context(), sale.Challenge, about, who, "")
	require.NoError(t, err)
	require.ErrorIs(t, pass(solve(t, about, p)), ErrUnsolved, "a formula of another node")
	require.NoError(t, pass(Solution{Foreign: "passed"}))
	require.Equal(t, "li.wei", asked)
	for range 3 {
		require.ErrorIs(t, pass(Solution{Foreign: "failed"}), ErrWrong)
	}
	var later *Later
	require.ErrorAs(t, pass(Solution{Foreign: "passed"}), &later, "wrong answers count")
}

func TestThePictureIsAPictureAndTheSoundASound(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	p, err := n.Puzzle(t.Context(), seckill.ChallengeFormula, "x", Asker{}, "")
	require.NoError(t, err)
	b, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(p.Picture, "data:image/png;base64,"))
	require.NoError(t, err)
	img, err := png.Decode(strings.NewReader(string(b)))
	require.NoError(t, err)
	require.Equal(t, pictureWidth, img.Bounds().Dx())
	require.Less(t, len(b), 8<<10)
	for _, lang := range []string{"zh", "en"} {
		p, err = n.Puzzle(t.Context(), seckill.ChallengeFormula, "x", Asker{}, lang)
		require.NoError(t, err)
		require.Empty(t, p.Picture)
		b, err = base64.StdEncoding.DecodeString(strings.TrimPrefix(p.Sound, "data:audio/wav;base64,"))
		require.NoError(t, err)
		require.Equal(t, "RIFF", string(b[:4]))
	}
}

func TestOnceIsOnceUntilItIsOver(t *testing.T) {
	t.Parallel()
	m := newMemory()
	first, err := m.Once(t.Context(), "x", time.Hour)
	require.NoError(t, err)
	require.True(t, first)
	first, _ = m.Once(t.Context(), "x", time.Hour)
	require.False(t, first)
	first, _ = m.Once(t.Context(), "y", -time.Second)
	require.True(t, first)
	first, _ = m.Once(t.Context(), "y", time.Hour)
	require.True(t, first, "what is over may come again")
}

func BenchmarkPicture(b *testing.B) {
	for b.Loop() {
		l, s, r, _ := formula()
		drawFormula(l, s, r)
	}
}

// Anybody can make up names of formulas; they fill no memory.
func TestForgedFormulasAreNotRemembered(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	about, who := ForSale(7, "li.wei"), Asker{Buyer: "li.wei", Address: here}
	p, err := n.Puzzle(t.Context(), seckill.ChallengeFormula, about, who, "")
	require.NoError(t, err)
	b, err := strict.DecodeString(p.Formula)
	require.NoError(t, err)
	for i := range 100 {
		b[0] = byte(i) + b[0] + 1
		require.ErrorIs(t, n.Solved(t.Context(), seckill.ChallengeFormula, about, who, Solution{Formula: strict.EncodeToString(b), Answer: "7"}), ErrWrong)
	}
	require.ErrorIs(t, n.Solved(t.Context(), seckill.ChallengeFormula, ForSale(7, "han.mei"), who, Solution{Formula: p.Formula, Answer: "7"}), ErrWrong, "somebody else's")
	require.Empty(t, n.Nodes.(*memory).until)
	require.NoError(t, n.Solved(t.Context(), seckill.ChallengeFormula, about, who, solve(t, about, p)))
	require.Len(t, n.Nodes.(*memory).until, 1)
}

// A network that asks for pictures without end has its turn like any other one.
func TestOneNetworkDoesNotKeepTheOthersFromPictures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		var places []func(time.Duration)
		for range max(1, runtime.GOMAXPROCS(0)/2) {
			leave, err := n.drawing.Enter(t.Context(), "busy")
			require.NoError(t, err)
			places = append(places, leave)
		}
		flooding, enough := context.WithCancel(t.Context())
		var flood sync.WaitGroup
		for i := range drawWaiting {
			flood.Go(func() {
				n.Puzzle(flooding, seckill.ChallengeFormula, "x", Asker{Buyer: fmt.Sprint("farmer-", i), Address: here}, "")
			})
		}
		synctest.Wait()
		var drawn atomic.Bool
		flood.Go(func() {
			_, err := n.Puzzle(t.Context(), seckill.ChallengeFormula, "x", Asker{Buyer: "li.wei", Address: netip.MustParseAddr("198.51.100.1")}, "")
			drawn.Store(err == nil)
			enough() // of pictures that nobody looks at
		})
		synctest.Wait()
		for _, leave := range places {
			leave(0)
		}
		flood.Wait()
		require.True(t, drawn.Load())
	})
}

// Challenges hold on a node whose clock is a second apart, as passes do.
func TestChallengesHoldOnANodeWhoseClockIsASecondApart(t *testing.T) {
	t.Parallel()
	for _, apart := range []time.Duration{-time.Second, time.Second} {
		for _, kind := range []seckill.Challenge{seckill.ChallengeFormula, seckill.ChallengeWork} {
			n, other := newNode(t), newNode(t)
			about, who := ForSale(7, "li.wei"), Asker{Buyer: "li.wei", Address: here}
			other.clock.now = n.Now().Add(apart)
			p, err := n.Puzzle(t.Context(), kind, about, who, "")
			require.NoError(t, err)
			require.NoError(t, other.Solved(t.Context(), kind, about, who, solve(t, about, p)), "made just now")
			p, err = n.Puzzle(t.Context(), kind, about, who, "")
			require.NoError(t, err)
			other.clock.pass(p.ExpiresAt.Add(-time.Millisecond).Sub(n.Now()))
			require.NoError(t, other.Solved(t.Context(), kind, about, who, solve(t, about, p)), "good to the end of its life")
		}
	}
}
