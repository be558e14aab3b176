package account

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"seckill"
)

// Person is an account as people of the shop see it.
type Person struct {
	Name      string    `json:"name"`
	Buyer     string    `json:"buyer"`
	Role      string    `json:"role"` // empty: a buyer
	Blocked   bool      `json:"blocked"`
	Factor    bool      `json:"second_factor"`
	CreatedAt time.Time `json:"created_at"`
}

func personOf(a seckill.Account) Person {
	return Person{a.Name, a.Buyer, a.Role, a.Blocked, a.Factor.Confirmed, a.CreatedAt}
}

// People lists accounts by name: those that begin with q, or else those that have a role.
func (a *Accounts) People(ctx context.Context, f seckill.AccountFilter) ([]Person, error) {
	accounts, err := a.store.Accounts(ctx, f)
	people := make([]Person, len(accounts))
	for i, v := range accounts {
		people[i] = personOf(v)
	}
	return people, err
}

// SetRole gives the account a role, or none. Its sessions end: they carry the other one.
func (a *Accounts) SetRole(ctx context.Context, name, role string) (Person, error) {
	if role != "" && !slices.Contains(seckill.Roles(), role) {
		return Person{}, &seckill.FieldError{Field: "role", Must: "must be viewer, support, operator, admin, or empty for a buyer"}
	}
	return a.change(ctx, name, func(v *seckill.Account) error {
		if v.Role == role {
			return nil
		}
		v.Role = role
		return endSessions(v)
	})
}

// SetBlocked keeps the account out, or lets it in again. Its sessions end.
func (a *Accounts) SetBlocked(ctx context.Context, name string, blocked bool) (Person, error) {
	return a.change(ctx, name, func(v *seckill.Account) error {
		if v.Blocked == blocked {
			return nil
		}
		v.Blocked = blocked
		return endSessions(v)
	})
}

// SetPassword gives the account another password and ends its sessions. With noFactor its
// second factor is taken away, for whoever has lost the device. Nobody does that to
// themselves: whoever has stolen a session would need neither the old password nor a code.
func (a *Accounts) SetPassword(ctx context.Context, name, password string, noFactor bool) (Person, error) {
	form, err := checkPassword(name, password)
	if err != nil {
		return Person{}, err
	}
	hash, err := a.hash(form)
	if err != nil {
		return Person{}, err
	}
	return a.change(ctx, name, func(v *seckill.Account) error {
		if err := notOneself(ctx, *v); err != nil {
			return err
		}
		v.Hash = hash
		if noFactor {
			v.Factor = seckill.Factor{}
		}
		return endSessions(v)
	})
}

// ChangePassword is SetPassword for whoever bears the token and knows the old one. Other
// sessions of the account end; the one that it returns goes on.
func (a *Accounts) ChangePassword(ctx context.Context, who Who, old, password string) (Session, error) {
	form, err := checkPassword(who.Name, password)
	if err != nil {
		return Session{}, err
	}
	if !who.Account() {
		return Session{}, errNoAccount
	}
	v, err := a.store.Account(ctx, who.Name)
	if err != nil {
		return Session{}, err
	}
	if ok, err := a.match(old, v.Hash); err != nil || !ok || len(old) > MaxPassword {
		return Session{}, cmp.Or(err, ErrLogin)
	}
	hash, err := a.hash(form)
	if err != nil {
		return Session{}, err
	}
	was := v.Hash
	v, err = a.own(ctx, who, func(v *seckill.Account) error {
		if v.Hash != was { // it is another one by now
			return ErrLogin
		}
		v.Hash = hash
		return endSessions(v)
	})
	if err != nil {
		return Session{}, err
	}
	return a.session(v, who.Factor)
}

// EndSessions ends all sessions of the account: whoever had one logs in again.
func (a *Accounts) EndSessions(ctx context.Context, name string) (Person, error) {
	return a.change(ctx, name, endSessions)
}

// EndOwnSessions is EndSessions for whoever bears the token.
func (a *Accounts) EndOwnSessions(ctx context.Context, who Who) error {
	_, err := a.own(ctx, who, endSessions)
	return err
}

// Delete forgets the account. What it has bought stays.
func (a *Accounts) Delete(ctx context.Context, name string) error {
	return a.store.DeleteAccount(ctx, name, func(v seckill.Account) error { return notOneself(ctx, v) })
}

func endSessions(v *seckill.Account) error {
	v.Generation++
	return nil
}

func (a *Accounts) change(ctx context.Context, name string, change func(*seckill.Account) error) (Person, error) {
	v, err := a.store.UpdateAccount(ctx, name, func(v *seckill.Account) error {
		role, blocked := v.Role, v.Blocked
		if err := change(v); err != nil {
			return err
		}
		if v.Role != role || v.Blocked != blocked {
			return notOneself(ctx, *v)
		}
		return nil
	})
	return personOf(v), err
}

// notOneself keeps an administrator from closing the door behind themselves, and whoever
// has stolen an administrator's session from making the account their own.
func notOneself(ctx context.Context, v seckill.Account) error {
	if actor, ok := seckill.ActorOf(ctx); ok && actor.Who == v.Buyer {
		return fmt.Errorf("nobody does this to their own account; password and second factor are changed with /api/me: %w", seckill.ErrState)
	}
	return nil
}
