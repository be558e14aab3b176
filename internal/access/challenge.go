package access

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/altcha-org/altcha-lib-go"

	"seckill"
)

// Puzzle is a challenge as a buyer gets it. It holds its own seal, bound to who asked
// and for what, so no node has to remember it.
type Puzzle struct {
	Kind      seckill.Challenge `json:"challenge"`
	ExpiresAt time.Time         `json:"expires_at,omitzero"`
	Work      *Work             `json:"work,omitempty"`
	// Formula names the formula that Picture shows, or the digits that Sound says.
	Formula string `json:"formula,omitempty"`
	Picture string `json:"picture,omitempty"` // a data: URL of a PNG
	Sound   string `json:"sound,omitempty"`   // a data: URL of a WAV
}

// Work is a challenge in ALTCHA's form: find the number n up to maxNumber for which
// SHA-256(salt + n) is the challenge, in hexadecimal digits.
type Work struct {
	Algorithm string `json:"algorithm"`
	Challenge string `json:"challenge"`
	MaxNumber int64  `json:"maxNumber"`
	Salt      string `json:"salt"`
	Signature string `json:"signature"`
}

// Solution is what a buyer sends for it.
type Solution struct {
	Work    string // ALTCHA's payload: base64 of {"algorithm","challenge","number","salt","signature"}
	Formula string // the formula's name
	Answer  string // what the formula gives, or the digits that were heard
	Foreign string // the response of a foreign captcha
}

// ForSale is what a challenge or a solution is about: a pass of a buyer for a sale.
func ForSale(sale seckill.SaleID, buyer string) string { return "sale " + sale.String() + " " + buyer }

// ForAccount is an account that somebody on a network makes.
func ForAccount(network netip.Prefix) string { return "account " + network.String() }

// The form of a formula's name, before base64url: a number that is used once, until when
// it can be solved (milliseconds since 1970), the MAC of these and of what it is about,
// and the MAC of all that and the answer. The first MAC is checked before anything is
// remembered of a name, since anybody can make up names. There are some hundred answers,
// and nobody without the key can try them.
const (
	nonceSize   = 16
	formulaHead = nonceSize + 8
	formulaSize = formulaHead + 2*macSize
)

// Puzzle makes a challenge about something, as dear as the asker's score demands. With
// sound set the formula is said in that language, zh or en, instead of drawn. There is
// none where a foreign captcha takes its place.
func (g *Guard) Puzzle(ctx context.Context, kind seckill.Challenge, about string, who Asker, sound string) (Puzzle, error) {
	p := Puzzle{Kind: kind}
	now := g.Now()
	if kind != seckill.ChallengeNone {
		if wait := g.wait(ctx, who, now); wait > 0 {
			return p, &Later{wait, WhyWrong}
		}
		p.ExpiresAt = now.Add(g.ChallengeLife).UTC().Truncate(time.Second)
	}
	if kind.Formula() && g.Foreign == nil {
		if err := g.draw(ctx, &p, about, who, sound); err != nil {
			return p, err
		}
	}
	if kind.Work() {
		// Counted here: who fetches all challenges first pays no less for the last one. And
		// behind the picture: whom the drawing room turns away has got no challenge.
		g.scores.came(who, now)
		g.scores.asked(who, now)
		cost := g.scores.cost(who, now, g.everywhere(ctx, g.crowdOf(who.Address), who.Buyer, countLife))
		g.metrics.work.Observe(float64(cost))
		salt := hex.EncodeToString(nonce(12))
		number := g.work[0].number(salt, 2*int64(cost))
		c, err := altcha.CreateChallenge(altcha.ChallengeOptions{
			Algorithm: altcha.SHA256, MaxNumber: 2 * int64(cost), HMACKey: g.work[0].text(), Expires: &p.ExpiresAt,
			Salt: salt, Number: &number, Params: url.Values{"about": {g.work[0].subject(about)}},
		})
		if err != nil {
			return p, err
		}
		work := Work(c)
		p.Work = &work
	}
	return p, nil
}

// draw puts a formula into the challenge, drawn or said.
func (g *Guard) draw(ctx context.Context, p *Puzzle, about string, who Asker, sound string) error {
	leave, err := g.drawing.Enter(ctx, Network(who.Address).String())
	if err != nil {
		return err
	}
	defer leave(0)
	var answer string
	if sound == "" {
		left, sign, right, result := formula()
		answer, p.Picture = strconv.Itoa(result), dataURL("image/png", drawFormula(left, sign, right))
	} else {
		var wav []byte
		wav, answer = speak(sound)
		p.Sound = dataURL("audio/wav", wav)
	}
	b := nonce(nonceSize)
	b = binary.BigEndian.AppendUint64(b, uint64(p.ExpiresAt.UnixMilli()))
	b = g.answers[0].sum(b, b, []byte(about))
	p.Formula = base64.RawURLEncoding.EncodeToString(g.answers[0].sum(b, b, []byte(about), zero, []byte(answer)))
	return nil
}

// Limits of drawing. A picture takes some milliseconds of a core, and buying must not
// wait for pictures.
const (
	drawWait    = time.Second // for a core to draw on
	drawWaiting = 256         // challenges that wait; beyond it the network with the most gives way
)

// zero parts two texts of any content in a MAC: no buyer's id has one.
var zero = []byte{0}

// Solved reports whether the solution is one of a challenge of that kind about that
// thing, and uses it up, right or wrong. The errors are ErrUnsolved, a *Later, ErrWrong
// and what wraps it or seckill.ErrUnavailable.
func (g *Guard) Solved(ctx context.Context, kind seckill.Challenge, about string, who Asker, s Solution) error {
	if kind == seckill.ChallengeNone {
		return nil
	}
	// It counts as wrong while it is looked at: a thousand guesses at once are no better
	// than one after another.
	now := g.Now()
	wait := g.wait(ctx, who, now)
	if wait == 0 {
		wait = g.scores.guess(who, now)
	}
	if wait > 0 {
		return &Later{wait, WhyWrong}
	}
	err := g.solved(ctx, kind, about, who, s)
	switch {
	case errors.Is(err, ErrWrong) && !errors.Is(err, errNoGuess):
		g.scores.failed(who, now)
		g.wrong(ctx, who, now)
	default: // the solution was right, or it was refused for another reason (too late, sent twice): it does not count as a wrong guess
		g.scores.unguess(who)
	}
	if errors.Is(err, ErrWrong) {
		g.metrics.wrong.Inc()
	}
	return err
}

// errNoGuess is a challenge that is over, used, somebody else's or none of ours: nothing
// that says that the answer was wrong. An answer may have been lost and sent again.
var errNoGuess = fmt.Errorf("%w", ErrWrong)

func (g *Guard) solved(ctx context.Context, kind seckill.Challenge, about string, who Asker, s Solution) error {
	read := s.Formula != "" && s.Answer != ""
	if g.Foreign != nil {
		read = s.Foreign != ""
	}
	if kind.Work() && s.Work == "" || kind.Formula() && !read {
		return ErrUnsolved
	}
	// Work first: who sends nonsense has not used up the formula.
	if kind.Work() {
		if err := g.worked(ctx, about, s.Work); err != nil {
			return err
		}
	}
	if !kind.Formula() {
		return nil
	}
	if g.Foreign != nil {
		return g.Foreign(ctx, who, s.Foreign)
	}
	return g.calculated(ctx, about, s.Formula, s.Answer)
}

// worked checks a proof of work.
func (g *Guard) worked(ctx context.Context, about, payload string) error {
	raw, err := base64.StdEncoding.DecodeString(payload)
	var p altcha.Payload
	if err != nil || json.Unmarshal(raw, &p) != nil || p.Algorithm != string(altcha.SHA256) {
		return errNoGuess
	}
	params := altcha.ExtractParams(p)
	expires, err := strconv.ParseInt(params.Get("expires"), 10, 64)
	if err != nil || !g.Now().Before(time.Unix(expires, 0).Add(leeway)) {
		return errNoGuess
	}
	for _, k := range g.work {
		if ok, err := altcha.VerifySolutionSafe(p, k.text(), false); err == nil && ok {
			if params.Get("about") != k.subject(about) {
				return errNoGuess
			}
			return g.first(ctx, "work "+p.Challenge, time.Unix(expires, 0))
		}
	}
	return errNoGuess
}

// calculated checks the answer of a formula.
func (g *Guard) calculated(ctx context.Context, about, name, answer string) error {
	b, err := strict.DecodeString(name)
	if err != nil || len(b) != formulaSize || len(answer) > 16 {
		return errNoGuess
	}
	head, ours, mac := b[:formulaHead], b[formulaHead:formulaHead+macSize], b[formulaHead+macSize:]
	if !g.answers.signed(ours, head, []byte(about)) {
		return errNoGuess
	}
	expires := time.UnixMilli(int64(binary.BigEndian.Uint64(b[nonceSize:])))
	if !g.Now().Before(expires.Add(leeway)) {
		return errNoGuess
	}
	// Used up before it is looked at: a formula is answered once, or all its answers could be tried.
	if err := g.first(ctx, "formula "+base64.RawURLEncoding.EncodeToString(b[:nonceSize]), expires); err != nil {
		return err
	}
	if !g.answers.signed(mac, b[:formulaHead+macSize], []byte(about), zero, []byte(plain(answer))) {
		return ErrWrong
	}
	return nil
}

// first lets each challenge through once.
func (g *Guard) first(ctx context.Context, name string, expires time.Time) error {
	first, err := g.Nodes.Once(ctx, name, expires.Sub(g.Now())+2*leeway)
	if err != nil {
		return fmt.Errorf("access: whether a challenge is used: %w", err)
	}
	if !first {
		return errNoGuess
	}
	return nil
}

// plain is an answer as it is compared: digits as any keyboard writes them.
func plain(answer string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= '０' && r <= '９':
			return r - '０' + '0'
		case r == ' ' || r == '　':
			return -1
		}
		return r
	}, answer)
}

// text is the key as ALTCHA's library takes it.
func (k key) text() string { return hex.EncodeToString(k.raw) }

// subject is what binds a proof of work to what it is about.
func (k key) subject(about string) string { return hex.EncodeToString(k.sum(nil, []byte(about))[:16]) }

// number is the one that a proof of work has to find: any of 0 to most, and nobody
// without the key can tell which.
func (k key) number(salt string, most int64) int64 {
	sum := k.sum(nil, []byte("number"), zero, []byte(salt))
	return int64(binary.BigEndian.Uint64(sum) % uint64(most+1))
}

func nonce(size int) []byte {
	b := make([]byte, size)
	rand.Read(b)
	return b
}

// Solve solves a challenge with the server's secret, at once, and tells how many hashes
// that would have taken. It is for the load generator, which holds the secret and plays
// people and machines at their own speed.
func Solve(secret []byte, about string, p Puzzle) (s Solution, hashes int64, err error) {
	if p.Work != nil {
		ks, err := deriveKeys([][]byte{secret}, "seckill work v1")
		if err != nil {
			return s, 0, err
		}
		salt, _, _ := strings.Cut(p.Work.Salt, "?")
		n := ks[0].number(salt, p.Work.MaxNumber)
		b, err := json.Marshal(altcha.Payload{Algorithm: p.Work.Algorithm, Challenge: p.Work.Challenge, Number: n, Salt: p.Work.Salt, Signature: p.Work.Signature})
		if err != nil {
			return s, 0, err
		}
		s.Work, hashes = base64.StdEncoding.EncodeToString(b), n+1
	}
	if p.Formula != "" {
		s.Formula = p.Formula
		if s.Answer, err = Answer(secret, about, p.Formula); err != nil {
			return s, 0, err
		}
	}
	return s, hashes, nil
}

// Answer finds the answer of a formula with the server's secret. Without it the picture
// has to be read.
func Answer(secret []byte, about, name string) (string, error) {
	ks, err := deriveKeys([][]byte{secret}, "seckill formula v1")
	if err != nil {
		return "", err
	}
	b, err := base64.RawURLEncoding.DecodeString(name)
	if err != nil || len(b) != formulaSize {
		return "", ErrWrong
	}
	for n := range answerMost + 1 {
		if answer := strconv.Itoa(n); ks.signed(b[formulaHead+macSize:], b[:formulaHead+macSize], []byte(about), zero, []byte(answer)) {
			return answer, nil
		}
	}
	return "", ErrWrong
}

// Pass gives a buyer a pass for the sale, if the rules and the solution allow it, and
// says until when it holds. sale is as it is shown now. Beside the errors of Admit and
// Solved there is a verdict, which is not Queued when there are no passes now.
func (g *Guard) Pass(ctx context.Context, sale seckill.Sale, who Asker, s Solution) (pass string, until time.Time, v seckill.Verdict, err error) {
	now := g.Now()
	if v = g.given(sale, now); v != seckill.Queued {
		return "", until, v, nil
	}
	kind, err := g.Kind(sale, &who)
	if err != nil {
		return "", until, v, err
	}
	if err := g.Solved(ctx, kind, ForSale(sale.ID, who.Buyer), who, s); err != nil {
		return "", until, v, err
	}
	g.metrics.passes.Inc()
	until = now
	if until.Before(sale.OpensAt) {
		until = sale.OpensAt
	}
	until = until.Add(g.PassLife).UTC().Truncate(time.Millisecond)
	return g.sign(sale.ID, who.Buyer, priceOf(kind), now, until), until, v, nil
}

// Kind is the challenge that a pass for the sale costs this buyer, or why there is none
// for them: ErrNotEligible, or a *Later. It notes in who what the lists say of them.
func (g *Guard) Kind(sale seckill.Sale, who *Asker) (seckill.Challenge, error) {
	standing := g.rules.now.Load().entries.standing(sale.ID, who.Buyer, func() netip.Addr { return who.Address })
	if standing == blocked {
		return "", ErrNotEligible
	}
	who.trusted = standing == trusted
	if err := g.eligible(sale.ID, sale.Access, *who, standing, g.Now()); err != nil {
		return "", err
	}
	if standing == allowed || sale.Challenge == "" {
		return seckill.ChallengeNone, nil
	}
	return sale.Challenge, nil
}

// Given says whether passes are given for the sale now: Queued if so, NotOpen long
// before the opening, Ended, and Paused while its rules cannot be read.
func (g *Guard) Given(sale seckill.Sale) seckill.Verdict { return g.given(sale, g.Now()) }

func (g *Guard) given(sale seckill.Sale, now time.Time) seckill.Verdict {
	switch {
	case sale.Ended || !now.Before(sale.ClosesAt):
		return seckill.Ended
	case now.Before(sale.OpensAt.Add(-g.PassEarly)):
		return seckill.NotOpen
	case sale.Unreadable:
		return seckill.Paused
	}
	return seckill.Queued
}
