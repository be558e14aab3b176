package account

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/alexedwards/argon2id"
	"golang.org/x/text/secure/precis"

	"seckill"
)

// ErrWeakPassword is a password that is not accepted; the error says why.
var ErrWeakPassword = errors.New("the password is too weak")

// weak is an ErrWeakPassword with its reason.
type weak string

func (w weak) Error() string        { return "the password " + string(w) }
func (w weak) Is(target error) bool { return target == ErrWeakPassword }

// common are passwords that guessing begins with, in small letters, one a line.
//
//go:embed common.txt
var commonText string

var common = func() map[string]bool {
	all := map[string]bool{}
	for word := range strings.FieldsSeq(commonText) {
		all[word] = true
	}
	return all
}()

// normal is the one form of a password (RFC 8265): the same characters typed on
// another keyboard, composed or not, are the same password.
func normal(password string) (string, error) {
	return precis.OpaqueString.String(password)
}

// checkPassword returns the form of a new password that is hashed, or why it is
// too weak.
func checkPassword(name, password string) (string, error) {
	if len(password) > MaxPassword || utf8.RuneCountInString(password) < MinPassword {
		return "", weak(fmt.Sprintf("must have %d characters to %d bytes", MinPassword, MaxPassword))
	}
	form, err := normal(password)
	if err != nil {
		return "", weak("must not have control characters")
	}
	if utf8.RuneCountInString(form) < MinPassword {
		return "", weak(fmt.Sprintf("must have %d characters to %d bytes", MinPassword, MaxPassword))
	}
	folded := strings.ToLower(form)
	switch plain, _ := seckill.FoldName(name); {
	case folded == plain || folded == strings.ToLower(name):
		return "", weak("must not be the name")
	case common[folded], easy(folded):
		return "", weak("is one of those that everybody tries first: choose several words, or let a password manager make one")
	}
	return form, nil
}

// easy reports whether a password is one short text again and again, or runs along
// the alphabet or the digits.
func easy(password string) bool {
	runes := []rune(password)
	for n := 1; n <= len(runes)/2 && n <= 4; n++ {
		if string(runes[n:]) == string(runes[:len(runes)-n]) {
			return true
		}
	}
	up, down := true, true
	for i := 1; i < len(runes); i++ {
		step := runes[i] - runes[i-1]
		if runes[i-1] == '9' && runes[i] == '0' {
			step = 1
		}
		up, down = up && step == 1, down && step == -1
	}
	return up || down
}

// matches compares a password with a hash. Accounts of before passwords had one
// form have a hash of what was typed then.
func matches(password, hash string) (bool, error) {
	form, err := normal(password)
	if err != nil {
		form = password
	}
	ok, err := argon2id.ComparePasswordAndHash(form, hash)
	if err == nil && !ok && form != password {
		return argon2id.ComparePasswordAndHash(password, hash)
	}
	return ok, err
}
