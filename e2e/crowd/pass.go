package crowd

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"seckill"
	"seckill/internal/access"
	"seckill/internal/account"
	"seckill/internal/client"
	"seckill/internal/duty"
)

// What a defended sale asks of everybody: a pass that costs a picture and a proof of
// work, an account of some age, and two unpaid orders at most, which many of a crowd
// leave.
var defences = seckill.Access{Pass: true, Challenge: seckill.ChallengeBoth, TriesPerBuyer: 2, Eligible: seckill.EligibleAge, AccountAgeSeconds: 3600}

// Who is not like the others where sales are defended: one buyer is on the block list, one
// on the allow list, and each sixteenth has a new account.
const (
	nBlocked = 3
	nAllowed = 5
	nYoung   = 7 // of sixteen
)

// triesTime is how long a node may not know of an unpaid order, if its store answers.
const triesTime = time.Second

// list puts two buyers on the lists, before there is any sale: then every node knows.
func (c *Crowd) list(ctx context.Context) error {
	for n, list := range map[int]string{nBlocked: seckill.ListBlock, nAllowed: seckill.ListAllow} {
		a, err := c.client.insist(ctx, "POST", "/api/admin/access", c.admin, map[string]string{"list": list, "buyer": c.buyerID(int64(n))})
		if err == nil && a.Status != http.StatusOK {
			err = fmt.Errorf("a buyer for the list %s: %v", list, a)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// credentials gives a buyer its token, and says whether defended sales are closed to it.
func (c *Crowd) credentials(b *buyer, n int64) {
	age := 24 * time.Hour
	if n%16 == nYoung || n == nAllowed {
		age = 0
	}
	b.barred = c.defends(b.sale) && (n == nBlocked || n%16 == nYoung)
	token, err := account.MintSince(c.Secret, b.id, time.Now().Add(-age), tokenLife)
	if err != nil {
		panic(err) // the ids are made here
	}
	b.token = token
}

// unpaid is how many orders the buyer has left unpaid for longer than a node may not know,
// and how many it may have left by now.
func (c *Crowd) unpaid(b *buyer, asked time.Time) (sure, most int) {
	for _, t := range b.log {
		switch {
		case t.state == seckill.Cancelled || t.state == seckill.Expired:
			most++
			if t.ended.Before(asked.Add(-c.Away - triesTime)) {
				sure++
			}
		case t.active():
			most++ // it may have expired, or its cancellation was not answered
		}
	}
	return sure, most
}

// mayHear reports whether the buyer may be told that the sale is not for it.
func (c *Crowd) mayHear(b *buyer) bool {
	_, most := c.unpaid(b, time.Now())
	return c.defends(b.sale) && (b.barred || most >= defences.TriesPerBuyer)
}

// checkAdmitted compares a ticket that the buyer was given with what the sale asks.
func (c *Crowd) checkAdmitted(b *buyer, t *ticket) {
	if !c.defends(b.sale) || b.id == c.buyerID(nAllowed) || t.asked.IsZero() {
		return
	}
	if sure, _ := c.unpaid(b, t.asked); b.barred || sure >= defences.TriesPerBuyer {
		c.found(ruleEligible, "%v has %v, and has left %d orders unpaid (barred: %t)", b, t, sure, b.barred)
	}
}

// pass fetches the buyer's pass for its sale, once. It returns an answer instead where
// there is none: the sale is not for this buyer, or is over.
func (c *Crowd) pass(ctx context.Context, b *buyer) (no *client.Answer, err error) {
	for b.pass == "" {
		a, err := c.client.insist(ctx, "POST", b.sale.path("/challenge"), b.token, nil)
		if err != nil {
			return nil, err
		}
		var p access.Puzzle
		if a.Status != http.StatusOK || !a.Says(&p) {
			return &a, nil
		}
		solution, _, err := access.Solve(c.Secret, access.ForSale(b.sale.id, b.id), p)
		if err != nil {
			return nil, err
		}
		// The node may die between the two: then a challenge that was answered has been used.
		a, err = c.client.insist(ctx, "POST", b.sale.path("/pass"), b.token, map[string]string{"work": solution.Work, "formula": solution.Formula, "answer": solution.Answer})
		if err != nil {
			return nil, err
		}
		var given struct{ Pass string }
		switch {
		case a.Status == http.StatusOK && a.Says(&given) && given.Pass != "":
			b.pass = given.Pass
			c.Stats.Passes.Add(1)
		case a.Code == "challenge_failed":
			if duty.Rest(ctx, again) != nil {
				return nil, ctx.Err()
			}
		default:
			return &a, nil
		}
	}
	return nil, nil
}
