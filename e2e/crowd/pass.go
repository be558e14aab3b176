package crowd

import (
	"context"
	"net/http"

	"seckill"
	"seckill/internal/access"
	"seckill/internal/client"
	"seckill/internal/duty"
)

// What a defended sale asks of everybody: a pass that costs a picture and a proof of
// work, and few enough unpaid orders that they are counted, but more than any buyer of
// a crowd leaves.
var defences = seckill.Access{Pass: true, Challenge: seckill.ChallengeBoth, TriesPerBuyer: 1000}

// pass fetches the buyer's pass for its sale, once. It returns an answer instead where
// the sale has one already: it is sold out, or paused.
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
