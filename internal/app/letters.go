package app

import (
	"context"
	"errors"
	"fmt"

	"seckill"
	"seckill/internal/queue/rabbitmq"
)

// letters are the dead letters of RabbitMQ.
type letters struct{ *Node }

// look takes the parked messages, and puts back what do leaves.
func (l letters) look(ctx context.Context, do func(*rabbitmq.Desk) error) error {
	desk, err := rabbitmq.Look(ctx, l.config.RabbitMQ)
	if err != nil {
		return fmt.Errorf("%w: %w", seckill.ErrUnavailable, err)
	}
	return errors.Join(do(desk), desk.Close())
}

func (l letters) DeadLetters(ctx context.Context) (all []seckill.DeadLetter, waiting, more int, err error) {
	err = l.look(ctx, func(d *rabbitmq.Desk) error {
		for _, p := range d.Parked {
			all = append(all, letter(p))
		}
		waiting, more = d.Waiting, d.More
		return nil
	})
	return all, waiting, more, err
}

func (l letters) Replay(ctx context.Context, most int, wanted func(seckill.DeadLetter) bool) (n int, err error) {
	err = l.look(ctx, func(d *rabbitmq.Desk) error {
		for _, p := range d.Parked {
			if most > 0 && n == most {
				break
			}
			// What has no seal would be put aside again.
			if v := letter(p); !wanted(v) || !v.Sealed {
				continue
			}
			if err := d.Replay(ctx, p); err != nil {
				return fmt.Errorf("%w: %w", seckill.ErrUnavailable, err)
			}
			n++
		}
		return nil
	})
	return n, err
}

func letter(p rabbitmq.Parked) seckill.DeadLetter {
	l := seckill.DeadLetter{ID: p.ID, Reason: p.Reason, Says: p.Cause, Deaths: p.Deaths, At: p.At, Sealed: p.Sealed()}
	if p.Wrong != nil {
		l.Says = p.Wrong.Error()
	}
	if t := p.Ticket; t != nil {
		l.Ticket, l.Sale, l.Buyer = t.ID, t.Sale, t.Buyer
	}
	return l
}
