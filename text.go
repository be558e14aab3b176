package seckill

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// LoneSurrogate reports whether a text in a JSON document has half a character, as an
// escape: encoding/json reads every such half as the same U+FFFD, so that two
// different passwords, or the ids of two payments, would be one.
func LoneSurrogate(document []byte) bool {
	for {
		i := bytes.IndexByte(document, '\\')
		if i < 0 || i+1 >= len(document) {
			return false
		}
		first := escaped(document[i:])
		if !utf16.IsSurrogate(first) {
			document = document[i+2:]
			continue
		}
		if len(document) < i+6 || utf16.DecodeRune(first, escaped(document[i+6:])) == utf8.RuneError {
			return true
		}
		document = document[i+12:]
	}
}

// escaped reads the escape \uXXXX that b begins with; 0 if it begins with another
// thing.
func escaped(b []byte) rune {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	if err != nil {
		return 0
	}
	return rune(n)
}
