package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"seckill"
)

// maxBody is the largest body of a request, in bytes.
const maxBody = 8 << 10

// bodyTime is how long a client may take to send a small body.
const bodyTime = 3 * time.Second

// readEarly reads a small body before the request takes a place in its room: a client that
// sends slowly keeps nobody out. A body that is cut off, or late, ends early for whoever
// decodes it. Larger ones, which only payment providers send, have places of their own while
// they are read, in which each address has its turn: anybody may say that they are one. The
// error is that of their room.
func (a *API) readEarly(w http.ResponseWriter, r *http.Request) error {
	if r.Body == nil || !readUpTo(w, r, maxBody) || !a.isKnownCallback(r) {
		return nil
	}
	leave, err := a.rooms.bodies.Enter(r.Context(), side(a.client(r)))
	if err != nil {
		return err
	}
	defer leave(0)
	readUpTo(w, r, maxCallback)
	return nil
}

// readUpTo reads a body of at most so many bytes, and reports whether there is more.
func readUpTo(w http.ResponseWriter, r *http.Request, most int64) (more bool) {
	if r.ContentLength > most {
		return true
	}
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Now().Add(bodyTime))
	body, err := io.ReadAll(io.LimitReader(r.Body, most+1))
	rest := io.Reader(r.Body)
	switch {
	case err != nil:
		rest = failed{err}
	case int64(len(body)) <= most:
		rest = http.NoBody
		_ = c.SetReadDeadline(time.Time{}) // the deadline was for the body; a wait for an outcome may be longer
	default:
		more = true
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(body), rest), r.Body}
	return more
}

// failed is a body that could not be read.
type failed struct{ error }

func (f failed) Read([]byte) (int, error) { return 0, f.error }

// decode reads a JSON body strictly: one object, known fields, each once and
// with a value, nothing behind it. No body at all leaves v as it is when optional is set, and needs no
// content type.
func decode(w http.ResponseWriter, r *http.Request, v any, optional bool) error {
	if r.ContentLength == 0 && optional {
		return nil
	}
	if r.ContentLength > maxBody {
		return errTooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return errTooLarge
		}
		return fmt.Errorf("%w: the body ends early", errBadJSON)
	}
	if len(body) == 0 && optional {
		return nil
	}
	if r.Header.Get("Content-Encoding") != "" {
		return errMediaType
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return errMediaType
	}
	return decodeBody(body, v)
}

// decodeBody is decode without HTTP. v points to a struct with plain fields.
//
// encoding/json alone is too kind: it takes names in any case, the last of two
// equal ones, null for everything and bytes that are no text.
func decodeBody(body []byte, v any) error {
	if !utf8.Valid(body) {
		return fmt.Errorf("%w: not UTF-8", errBadJSON)
	}
	if seckill.LoneSurrogate(body) {
		return fmt.Errorf("%w: \\ud800 to \\udfff are halves of a character, and one half is missing", errBadJSON)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("%w: want an object", errBadJSON)
	}
	into := reflect.ValueOf(v).Elem()
	fields := reflect.VisibleFields(into.Type()) // those of embedded structs too
	given := make([]json.RawMessage, len(fields))
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return fmt.Errorf("%w: %v", errBadJSON, err)
		}
		i := fieldOf(fields, name)
		switch {
		case i < 0:
			return fmt.Errorf("%w: unknown field %q", errBadJSON, name)
		case given[i] != nil:
			return fmt.Errorf("%w: the field %q comes twice", errBadJSON, name)
		}
		if err := d.Decode(&given[i]); err != nil {
			return fmt.Errorf("%w: %v", errBadJSON, err)
		}
	}
	if _, err := d.Token(); err != nil {
		return fmt.Errorf("%w: %v", errBadJSON, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("%w: something follows the object", errBadJSON)
	}
	for i, value := range given {
		if value == nil {
			continue
		}
		field := into.FieldByIndex(fields[i].Index)
		if string(value) == "null" || json.Unmarshal(value, field.Addr().Interface()) != nil {
			return &seckill.FieldError{Field: nameOf(fields[i]), Must: mustBe(field.Type())}
		}
	}
	return nil
}

// fieldOf returns the index of the field with that name in JSON, or -1.
func fieldOf(fields []reflect.StructField, name json.Token) int {
	return slices.IndexFunc(fields, func(f reflect.StructField) bool { return nameOf(f) != "" && nameOf(f) == name })
}

// nameOf is a field's name in JSON. Empty: it has none.
func nameOf(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	if name == "-" {
		return ""
	}
	return name
}

// mustBe says what the values of a type look like.
func mustBe(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[time.Time]():
		return "must be RFC 3339, such as 2026-11-11T12:00:00Z"
	case t.Kind() == reflect.String:
		return "must be a string"
	case t.Kind() == reflect.Bool:
		return "must be true or false"
	}
	return "must be a whole number within its limits"
}
