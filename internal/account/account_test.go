package account

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/argon2id"
	"github.com/stretchr/testify/require"

	"seckill"
)

// accounts is a store that keeps the contract, in memory. down makes it fail.
type accounts struct {
	mu   sync.Mutex
	all  map[string]seckill.Account
	down error

	ended []seckill.EndedSessions // in the order of their versions
}

func (a *accounts) CreateAccount(_ context.Context, v seckill.Account) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name := range a.all {
		if folded(name) == folded(v.Name) {
			return seckill.ErrNameTaken
		}
	}
	a.all[v.Name] = v
	return a.down
}

func (a *accounts) Account(_ context.Context, name string) (seckill.Account, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.down != nil {
		return seckill.Account{}, a.down
	}
	if v, ok := a.all[name]; ok {
		return v, nil
	}
	for other, v := range a.all {
		if folded(other) == folded(name) {
			return v, nil
		}
	}
	return seckill.Account{}, seckill.ErrNotFound
}

func (a *accounts) UpdateAccount(ctx context.Context, name string, change func(*seckill.Account) error) (seckill.Account, error) {
	v, err := a.Account(ctx, name)
	if err != nil {
		return v, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	v = a.all[v.Name]
	before := v.Generation
	if err := change(&v); err != nil {
		return v, err
	}
	a.all[v.Name] = v
	if v.Generation != before {
		a.ended = append(a.ended, seckill.EndedSessions{Buyer: v.Buyer, Generation: v.Generation, At: time.Now(), Version: int64(len(a.ended) + 1)})
	}
	return v, nil
}

func (a *accounts) DeleteAccount(ctx context.Context, name string, may func(seckill.Account) error) error {
	v, err := a.UpdateAccount(ctx, name, func(v *seckill.Account) error { v.Generation++; return may(*v) })
	if err == nil {
		delete(a.all, v.Name)
	}
	return err
}

func (a *accounts) Accounts(context.Context, seckill.AccountFilter) ([]seckill.Account, error) {
	return nil, a.down
}

func (a *accounts) Ended(_ context.Context, after int64, max int) ([]seckill.EndedSessions, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ended[after:min(int64(len(a.ended)), after+int64(max))], a.down
}

func folded(name string) string {
	f, _ := seckill.FoldName(name)
	return f
}

func (a *accounts) Invite(context.Context, string, int, time.Time) error { return a.down }

var (
	theSecret    = []byte("the secret of these tests")
	otherSecret  = []byte("the secret of somebody else")
	goodPassword = "correct horse battery"
)

func newAccounts(t *testing.T, obliged ...string) (*Accounts, *accounts, *Verifier) {
	t.Helper()
	store := &accounts{all: map[string]seckill.Account{}}
	a := NewCheap(store, theSecret, time.Hour, obliged...)
	v, err := NewVerifier(Checks{}, theSecret)
	require.NoError(t, err)
	return a, store, v
}

// What a name that nobody has is compared with is as costly as any other hash.
func TestTheHashOfNobodyIsLikeAnyOther(t *testing.T) {
	t.Parallel()
	one, err := argon2id.CreateHash(goodPassword, hashing)
	require.NoError(t, err)
	params, salt, key, err := argon2id.DecodeHash(hashOfNobody(hashing))
	require.NoError(t, err)
	like, itsSalt, itsKey, err := argon2id.DecodeHash(one)
	require.NoError(t, err)
	require.Equal(t, like, params)
	require.Equal(t, len(itsSalt), len(salt))
	require.Equal(t, len(itsKey), len(key))
	require.Equal(t, len(one), len(hashOfNobody(hashing)))
	require.NotEqual(t, hashOfNobody(hashing), hashOfNobody(hashing))
}

func TestRegisterThenLogin(t *testing.T) {
	t.Parallel()
	_, store, v := newAccounts(t)
	a := New(store, theSecret, time.Hour)
	s, err := a.Register(t.Context(), "li.wei", goodPassword, "")
	require.NoError(t, err)
	require.Equal(t, time.Hour, s.Life)
	require.True(t, seckill.ValidBuyer(s.Buyer))
	who, err := v.Verify(s.Token, true)
	require.NoError(t, err)
	require.Equal(t, s.Buyer, who.Buyer)
	require.Empty(t, who.Role)

	again, err := a.Login(t.Context(), "li.wei", goodPassword, "")
	require.NoError(t, err)
	require.Equal(t, s.Buyer, again.Buyer)

	root, err := a.Register(t.Context(), "root", goodPassword, seckill.RoleAdmin)
	require.NoError(t, err)
	require.NotEqual(t, s.Buyer, root.Buyer)
	root, err = a.Login(t.Context(), "root", goodPassword, "")
	require.NoError(t, err)
	who, err = v.Verify(root.Token, true)
	require.NoError(t, err)
	require.Equal(t, seckill.RoleAdmin, who.Role, "the role is that of the account")

	t.Log("what is kept of a password is a salted argon2id hash by OWASP's first recommendation")
	for name, account := range store.all {
		require.True(t, strings.HasPrefix(account.Hash, "$argon2id$v=19$m=19456,t=2,p=1$"), account.Hash)
		require.NotContains(t, account.Hash, goodPassword, name)
	}
	require.NotEqual(t, store.all["li.wei"].Hash, store.all["root"].Hash)
}

func TestWhatIsNoNameAndNoPassword(t *testing.T) {
	t.Parallel()
	a, store, _ := newAccounts(t)
	for _, name := range []string{"", " ", " a", "a ", "a\tb", "a\x00", "a\u2028b", "\xff", strings.Repeat("字", 65)} {
		_, err := a.Register(t.Context(), name, goodPassword, "")
		var field *seckill.FieldError
		require.ErrorAs(t, err, &field, "%q", name)
		require.Equal(t, "name", field.Field)
	}
	for _, password := range []string{"", "1234567", strings.Repeat("密", 7), strings.Repeat("x", MaxPassword+1)} {
		_, err := a.Register(t.Context(), "a", password, "")
		require.ErrorIs(t, err, ErrWeakPassword, "%q", password)
	}
	require.Empty(t, store.all)
}

// A name is one account's in all its spellings, and found in all of them.
func TestANameIsOneInAllItsSpellings(t *testing.T) {
	t.Parallel()
	a, _, _ := newAccounts(t)
	s, err := a.Register(t.Context(), "Li.Wéi", goodPassword, "")
	require.NoError(t, err)
	for _, name := range []string{"Li.Wéi", "li.wéi", "LI.WÉI", "Li.We\u0301i", "Ｌｉ.Ｗéi"} {
		_, err := a.Register(t.Context(), name, goodPassword, "")
		require.ErrorIs(t, err, seckill.ErrNameTaken, "%q", name)
		again, err := a.Login(t.Context(), name, goodPassword, "")
		require.NoError(t, err, "%q", name)
		require.Equal(t, s.Buyer, again.Buyer, "%q", name)
	}
	_, err = a.Register(t.Context(), "li.wei", goodPassword, "")
	require.NoError(t, err, "another letter is another name")
}

func TestPasswordsThatEverybodyTriesFirst(t *testing.T) {
	t.Parallel()
	a, store, _ := newAccounts(t)
	for _, password := range []string{
		"12345678", "123456789", "87654321", "Password1", "qwertyuiop", "aaaaaaaa", "abababab", "abcdefgh", "1234567890", "        ", "iloveyou", "woaini1314",
		"li.wei.the.1st", "LI.WEI.THE.1ST", "tab\tin it!",
	} {
		_, err := a.Register(t.Context(), "li.wei.the.1st", password, "")
		require.ErrorIs(t, err, ErrWeakPassword, "%q", password)
	}
	require.Empty(t, store.all)
	for word := range common {
		require.Equal(t, strings.ToLower(word), word)
		require.GreaterOrEqual(t, len([]rune(word)), MinPassword, "%q is too short anyway", word)
	}
	for i, password := range []string{goodPassword, "tr0ub4dor&3", "käse-und-brot", "密码很长也很好记", strings.Repeat("x", 250) + "abcdef", "correct-horse"} {
		_, err := a.Register(t.Context(), "buyer "+string(rune('a'+i)), password, "")
		require.NoError(t, err, "%q", password)
	}
}

// The same characters are the same password on every keyboard; and whoever set one
// before passwords had one form gets in with what they typed.
func TestAPasswordHasOneForm(t *testing.T) {
	t.Parallel()
	a, store, _ := newAccounts(t)
	_, err := a.Register(t.Context(), "li.wei", "käse und brot", "")
	require.NoError(t, err)
	for _, typed := range []string{"käse und brot", "ka\u0308se und brot", "käse\u00a0und brot"} {
		_, err := a.Login(t.Context(), "li.wei", typed, "")
		require.NoError(t, err, "%q", typed)
	}
	const old = "ka\u0308se\tbrot"
	hash, err := argon2id.CreateHash(old, hashing)
	require.NoError(t, err)
	store.all["old"] = seckill.Account{Name: "old", Buyer: "b", Hash: hash}
	_, err = a.Login(t.Context(), "old", old, "")
	require.NoError(t, err)
}

// A taken name costs no processor: it is said before the password is hashed.
func TestATakenNameIsSaidBeforeAnyHashing(t *testing.T) {
	t.Parallel()
	a, _, _ := newAccounts(t)
	_, err := a.Register(t.Context(), "li.wei", goodPassword, "")
	require.NoError(t, err)
	a.hash = func(string) (string, error) {
		t.Error("hashed for a name that is taken")
		return "", errors.New("not now")
	}
	_, err = a.Register(t.Context(), "Li.Wei", goodPassword, "")
	require.ErrorIs(t, err, seckill.ErrNameTaken)
}

// meet returns where n callers wait for one another, for a minute at most: if one does not come,
// what the others do is wrong anyway.
func meet(t *testing.T, n int64) (wait func()) {
	var here atomic.Int64
	all, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return func() {
		if here.Add(1) == n {
			cancel()
		}
		<-all.Done()
	}
}

// Each of them has found that nobody has the name.
func TestTwoWhoWantANameAtOnce(t *testing.T) {
	t.Parallel()
	a, store, _ := newAccounts(t)
	errs := make(chan error, 3)
	hash, others := a.hash, meet(t, int64(cap(errs)))
	a.hash = func(form string) (string, error) { others(); return hash(form) }
	for range cap(errs) {
		go func() {
			_, err := a.Register(t.Context(), "li.wei", goodPassword, "")
			errs <- err
		}()
	}
	made := 0
	for range cap(errs) {
		if err := <-errs; err == nil {
			made++
		} else {
			require.ErrorIs(t, err, seckill.ErrNameTaken)
		}
	}
	require.Equal(t, 1, made)
	require.Len(t, store.all, 1)
}

func TestAFailedLoginDoesNotSayWhy(t *testing.T) {
	t.Parallel()
	a, _, _ := newAccounts(t)
	_, err := a.Register(t.Context(), "li.wei", goodPassword, "")
	require.NoError(t, err)
	for _, c := range [][2]string{
		{"li.wei", "wrong horse battery"}, {"li.wei", ""}, {"nobody", goodPassword}, {"", ""},
		{"li.wei", goodPassword + " "}, {"li.wei", strings.ToUpper(goodPassword)}, {"li.wei", strings.Repeat("x", 10_000)}, {"a\x00b", goodPassword},
	} {
		s, err := a.Login(t.Context(), c[0], c[1], "")
		require.Equal(t, ErrLogin, err, "%q", c)
		require.Empty(t, s.Token, "whose account it is, if there is one, is for the log alone")
	}
}

// Hashing is what takes the time, so an unknown name must not be spared it.
func TestAnUnknownNameCostsAHashToo(t *testing.T) {
	t.Parallel()
	_, store, _ := newAccounts(t)
	a := New(store, theSecret, time.Hour)
	_, err := a.Register(t.Context(), "li.wei", goodPassword, "")
	require.NoError(t, err)
	took := func(name string) time.Duration {
		began := time.Now()
		_, err := a.Login(t.Context(), name, "wrong horse battery", "")
		require.Equal(t, ErrLogin, err)
		return time.Since(began)
	}
	// Other work delays now the one and now the other; without a hash the unknown name's
	// fastest answer would stay far below.
	nobody, known := took("nobody"), took("li.wei")
	for range 100 {
		if nobody > known/3 {
			return
		}
		known = min(known, took("li.wei"))
	}
	require.Greater(t, nobody, known/3)
}

func TestAStoreThatIsDownIsNoWrongPassword(t *testing.T) {
	t.Parallel()
	a, store, _ := newAccounts(t)
	store.down = seckill.ErrUnavailable
	_, err := a.Login(t.Context(), "li.wei", goodPassword, "")
	require.ErrorIs(t, err, seckill.ErrUnavailable)
	_, err = a.Register(t.Context(), "li.wei", goodPassword, "")
	require.ErrorIs(t, err, seckill.ErrUnavailable)
}

func TestADamagedHashIsNoWrongPassword(t *testing.T) {
	t.Parallel()
	a, store, _ := newAccounts(t)
	store.all["li.wei"] = seckill.Account{Name: "li.wei", Buyer: "b", Hash: "what is this"}
	_, err := a.Login(t.Context(), "li.wei", goodPassword, "")
	require.Error(t, err)
	require.False(t, errors.Is(err, ErrLogin))
}
