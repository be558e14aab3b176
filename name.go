package seckill

import "golang.org/x/text/secure/precis"

// FoldName returns what two spellings of one account's name have in common: Li.Wei
// and li.wei, full-width letters, composed and decomposed accents (RFC 8266). ok is
// false for what cannot be a name.
func FoldName(name string) (folded string, ok bool) {
	folded, err := precis.Nickname.CompareKey(name)
	return folded, err == nil && folded != ""
}
