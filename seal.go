package seckill

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"time"
)

// Seal is the gate's word that it has admitted a ticket: a MAC over all of its
// fields. The zero Seal is none. In text it is base64url without padding.
type Seal [16]byte

// MarshalText writes the seal in base64url, 22 characters.
func (s Seal) MarshalText() ([]byte, error) {
	return base64.RawURLEncoding.AppendEncode(make([]byte, 0, 22), s[:]), nil
}

var errSeal = errors.New("not a seal")

// UnmarshalText reads what MarshalText writes.
func (s *Seal) UnmarshalText(b []byte) error {
	var read [18]byte
	if len(b) != 22 {
		return errSeal
	}
	n, err := base64.RawURLEncoding.Strict().Decode(read[:], b)
	if err != nil || n != len(s) {
		return errSeal
	}
	copy(s[:], read[:n])
	return nil
}

// Seals makes and checks seals with a key that is derived from the secret of all
// nodes. Its methods may be called from any goroutine. A nil *Seals makes no seal and
// finds every ticket genuine: for gates in tests, which nobody writes to.
type Seals struct {
	keys   []*sealKey // the first one seals, all of them are accepted
	notes  []*sealKey // the same, for notes of stops
	prints []string
}

// sealKey is a key. The buffer is for what is sealed: a buyer has 64 characters, 256 bytes, at
// most.
type sealKey = MAC[[512]byte]

// NewSeals derives the keys: that of the secret in force first, then those of
// secrets that are accepted still. An empty secret is none: everybody could derive its key.
func NewSeals(secrets ...[]byte) (*Seals, error) {
	s := &Seals{}
	for _, secret := range secrets {
		if len(secret) == 0 {
			continue
		}
		key, err := hkdf.Key(sha256.New, secret, nil, "seckill ticket seal", sha256.Size)
		if err != nil {
			return nil, err
		}
		note, err := hkdf.Key(sha256.New, secret, nil, "seckill stop seal", sha256.Size)
		if err != nil {
			return nil, err
		}
		print, err := hkdf.Key(sha256.New, secret, nil, "seckill secret fingerprint", 8)
		if err != nil {
			return nil, err
		}
		s.keys, s.notes = append(s.keys, NewMAC[[512]byte](key)), append(s.notes, NewMAC[[512]byte](note))
		s.prints = append(s.prints, hex.EncodeToString(print))
	}
	if len(s.keys) == 0 {
		return nil, errors.New("no secret to seal tickets with")
	}
	return s, nil
}

// Prints are the fingerprints of the secrets, in their order: they tell whether two
// nodes have the same one, and nothing about it.
func (s *Seals) Prints() []string { return s.prints }

// Make returns the ticket's seal. Before the gate has given a ticket its admission
// number, time and version all are zero: such a seal says that somebody with the key asked
// for the ticket.
func (s *Seals) Make(t *Ticket) Seal {
	if s == nil {
		return Seal{}
	}
	return seal(s.keys[0], t)
}

// Genuine reports whether the ticket carries a seal of all of its fields, made with one of
// the keys. A ticket without an admission number is not genuine: its seal says no more than
// that somebody asked, and stands in every hold for all who read the gate's Redis.
func (s *Seals) Genuine(t *Ticket) bool {
	return s == nil || t.Seq > 0 && s.made(t)
}

func (s *Seals) made(t *Ticket) bool {
	for _, k := range s.keys {
		if want := seal(k, t); subtle.ConstantTimeCompare(want[:], t.Seal[:]) == 1 {
			return true
		}
	}
	return false
}

// Asked reports whether the ticket carries the seal of its request, made before it had
// number, time and version.
func (s *Seals) Asked(t Ticket) bool {
	t.Seq, t.At, t.Version = 0, time.Time{}, 0
	return s == nil || s.made(&t)
}

// seal is the MAC of the id, which has a fixed length, of numbers, and of the buyer. With
// a version a 3 stands before it, which begins no id: so the seals of tickets without one
// are those that they had before there were versions.
func seal(k *sealKey, t *Ticket) (s Seal) {
	d := k.Take()
	defer k.Put(d)
	b := d.Buf[:0]
	if t.Version != 0 {
		b = append(b, 3)
	}
	b = append(b, t.ID...)
	var at uint64
	if !t.At.IsZero() {
		at = uint64(t.At.UnixMilli())
	}
	for _, n := range [...]uint64{uint64(t.Sale), uint64(t.Quantity), uint64(t.Seq), at} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	if t.Version != 0 {
		b = binary.BigEndian.AppendUint64(b, uint64(t.Version))
	}
	copy(s[:], d.Sum(append(b, t.Buyer...)))
	return s
}

// ErrUnsealed is a note that nobody with a key has made.
var ErrUnsealed = errors.New("the note has no seal of the gate")

// sealBegin and sealEnd enclose the seal, the last member of a note. What stands before it is
// sealed, as it is written there.
const (
	sealBegin = `,"seal":"`
	sealEnd   = `"}`
)

// Note writes a stop as gates keep it: its JSON with a seal.
func (s *Seals) Note(stop Stop) ([]byte, error) {
	text, err := json.Marshal(stop)
	if err != nil || s == nil {
		return text, err
	}
	seal, err := noteSeal(s.notes[0], text[:len(text)-1]).MarshalText()
	return slices.Concat(text[:len(text)-1], []byte(sealBegin), seal, []byte(sealEnd)), err
}

// ReadNote reads what Note has written. Without a seal of one of the keys the error is
// ErrUnsealed.
func (s *Seals) ReadNote(note []byte) (stop Stop, err error) {
	if err := json.Unmarshal(note, &stop); err != nil || s == nil {
		return stop, err
	}
	rest, closed := bytes.CutSuffix(note, []byte(sealEnd))
	at := bytes.LastIndex(rest, []byte(sealBegin))
	var seal Seal
	if !closed || at < 0 || seal.UnmarshalText(rest[at+len(sealBegin):]) != nil {
		return stop, ErrUnsealed
	}
	for _, k := range s.notes {
		if want := noteSeal(k, rest[:at]); subtle.ConstantTimeCompare(want[:], seal[:]) == 1 {
			return stop, nil
		}
	}
	return stop, ErrUnsealed
}

func noteSeal(k *sealKey, text []byte) (s Seal) {
	d := k.Take()
	defer k.Put(d)
	copy(s[:], d.Sum(text))
	return s
}
