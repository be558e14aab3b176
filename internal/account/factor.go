package account

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/png"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
	"github.com/pquerna/otp/totp"

	"seckill"
)

// Codes of the second factor are those of RFC 6238 that every authenticator shows: six
// digits, another one every 30 seconds. The one before and the one after count too, since
// clocks differ.
const (
	factorStep = 30 // seconds
	factorSkew = 1  // steps
	issuer     = "Seckill"

	pictureSide = 240 // pixels
)

// ErrFactor is a login with the right password and no code, or a code that is wrong or
// used.
var ErrFactor = errors.New("a code of the second factor is needed")

var errNoAccount = fmt.Errorf("the token belongs to no account: %w", seckill.ErrState)

// accept takes a code of the account's second factor, once.
func accept(f *seckill.Factor, code string, now time.Time) error {
	if f.Secret == "" || code == "" {
		return ErrFactor
	}
	for step := now.Unix()/factorStep - factorSkew; step <= now.Unix()/factorStep+factorSkew; step++ {
		ok, err := hotp.ValidateCustom(code, uint64(step), f.Secret, hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err == nil && ok {
			if step <= f.Step {
				return ErrFactor // a code is taken once: somebody may have seen it being typed
			}
			f.Step = step
			return nil
		}
	}
	return ErrFactor
}

// FactorPicture is the URL of a second factor as a QR code: a PNG, black on white with a
// narrow margin, which the page must widen where it is not white itself.
func FactorPicture(url string) ([]byte, error) {
	key, err := otp.NewKeyFromURL(url)
	if err != nil {
		return nil, fmt.Errorf("second factor: %w", err)
	}
	// The longest name makes a code of about a hundred squares a side.
	picture, err := key.Image(pictureSide, pictureSide)
	if err != nil {
		return nil, fmt.Errorf("second factor: %w", err)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, picture); err != nil {
		return nil, fmt.Errorf("second factor: %w", err)
	}
	return b.Bytes(), nil
}

// NewFactor makes the secret of a second factor for the bearer's account, and the URL that
// an authenticator reads as a picture. It counts once ConfirmFactor has seen a code; until
// then a repeat makes another one.
func (a *Accounts) NewFactor(ctx context.Context, who Who) (secret, url string, err error) {
	if !who.Account() {
		return "", "", errNoAccount
	}
	key, err := totp.Generate(totp.GenerateOpts{Issuer: issuer, AccountName: who.Name, Period: factorStep})
	if err != nil {
		return "", "", fmt.Errorf("second factor: %w", err)
	}
	_, err = a.own(ctx, who, func(v *seckill.Account) error {
		if v.Factor.Confirmed {
			return fmt.Errorf("the account has a second factor: take it away first: %w", seckill.ErrState)
		}
		v.Factor = seckill.Factor{Secret: key.Secret()}
		return nil
	})
	return key.Secret(), key.URL(), err
}

// ConfirmFactor puts the second factor in force, for its first code. The session that it
// returns has been made with it.
func (a *Accounts) ConfirmFactor(ctx context.Context, who Who, code string) (Session, error) {
	v, err := a.own(ctx, who, func(v *seckill.Account) error {
		if v.Factor.Confirmed {
			return fmt.Errorf("the account has a second factor already: %w", seckill.ErrState)
		}
		v.Factor.Confirmed = true
		return accept(&v.Factor, code, time.Now())
	})
	if err != nil {
		return Session{}, err
	}
	return a.session(v, true)
}

// RemoveFactor takes the second factor away, for a code of it.
func (a *Accounts) RemoveFactor(ctx context.Context, who Who, code string) error {
	_, err := a.own(ctx, who, func(v *seckill.Account) error {
		if !v.Factor.Confirmed {
			return fmt.Errorf("the account has no second factor: %w", seckill.ErrState)
		}
		if err := accept(&v.Factor, code, time.Now()); err != nil {
			return err
		}
		v.Factor = seckill.Factor{}
		return nil
	})
	return err
}

// own changes the account of whoever bears the token.
func (a *Accounts) own(ctx context.Context, who Who, change func(*seckill.Account) error) (seckill.Account, error) {
	if !who.Account() {
		return seckill.Account{}, errNoAccount
	}
	return a.store.UpdateAccount(ctx, who.Name, func(v *seckill.Account) error {
		if v.Buyer != who.Buyer { // somebody else has the name by now
			return seckill.ErrNotFound
		}
		return change(v)
	})
}
