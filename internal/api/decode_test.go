package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"seckill"
)

// anyBody has a field of every kind that bodies have.
type anyBody struct {
	Text   string     `json:"text"`
	Number int64      `json:"number"`
	Small  int        `json:"small"`
	Price  *int64     `json:"price"`
	Title  *string    `json:"title"`
	At     time.Time  `json:"at"`
	Until  *time.Time `json:"until"`
}

var anyFields = []string{"text", "number", "small", "price", "title", "at", "until"}

// members reads the names of an object, in their order, by other means than the
// decoder under test.
func members(t *testing.T, body []byte) (names []string, nulls bool) {
	t.Helper()
	var values map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(body, &values))
	for _, v := range values {
		nulls = nulls || string(v) == "null"
	}
	d := json.NewDecoder(bytes.NewReader(body))
	for depth, key := 0, false; ; {
		token, err := d.Token()
		if err != nil {
			return names, nulls
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
			key = depth == 1
		case json.Delim('}'), json.Delim(']'):
			depth--
			key = depth == 1
		default:
			if depth == 1 && key {
				names = append(names, token.(string))
			}
			if depth == 1 {
				key = !key
			}
		}
	}
}

// A request may have the fields of an embedded struct; what has no name in JSON cannot be sent.
func TestFieldsOfAnEmbeddedStruct(t *testing.T) {
	t.Parallel()
	type body struct {
		Title string `json:"title"`
		seckill.Access
		Nameless string
	}
	var b body
	require.NoError(t, decodeBody([]byte(`{"title":"a","tries_per_buyer":2,"pass":true}`), &b))
	require.Equal(t, body{Title: "a", Access: seckill.Access{TriesPerBuyer: 2, Pass: true}}, b)
	for _, unknown := range []string{"-", "", "Access", "Unreadable", "unreadable", "Nameless"} {
		require.ErrorIs(t, decodeBody([]byte(`{"`+unknown+`":true}`), &b), errBadJSON, unknown)
	}
	require.ErrorIs(t, decodeBody([]byte(`{"pass":true,"pass":true}`), &b), errBadJSON)
	wrong, _ := errors.AsType[*seckill.FieldError](decodeBody([]byte(`{"pass":null}`), &b))
	require.Equal(t, &seckill.FieldError{Field: "pass", Must: "must be true or false"}, wrong)
}

// Half a character is no text, in a name or a value: json.Unmarshal would read
// every half as the same U+FFFD.
func TestHalfACharacterIsNoJSON(t *testing.T) {
	t.Parallel()
	for body, ok := range map[string]bool{
		`{"text":"\ud83d\ude00"}`:         true,
		`{"text":"\\ud83d"}`:              true, // a backslash, and then letters
		`{"text":"\uD83D\uDE00 \u4e70"}`:  true,
		`{"text":"\ufffd"}`:               true,
		`{"text":"\ud800"}`:               false,
		`{"text":"\udfff"}`:               false,
		`{"text":"\ude00\ud83d"}`:         false,
		`{"text":"\ud800\ud800\udc00"}`:   false,
		`{"text":"\ud800\\udc00"}`:        false,
		`{"title":"a\uD800b"}`:            false,
		`{"text":"` + "\\\\" + `\ud800"}`: false,
		`{"\ud800":1}`:                    false,
	} {
		err := decodeBody([]byte(body), &anyBody{})
		if ok {
			require.NoError(t, err, body)
			continue
		}
		require.ErrorIs(t, err, errBadJSON, body)
	}
}

var (
	wholeEscapes = regexp.MustCompile(`\\\\|(?i:\\u(d[89ab]..)\\u(d[c-f]..))`)
	halfEscapes  = regexp.MustCompile(`(?i)\\ud[89a-f]..`)
)

// A body is accepted exactly when it is one JSON object in UTF-8 whose names are
// all known, each there once, and whose values are of the right kind; then it
// says what it says to everybody else. 400 is about its form, 422 about a value.
func FuzzDecodeBody(f *testing.F) {
	for _, seed := range []string{
		`{}`, ` {} `, `{"text":"a","number":1,"small":2,"price":3,"title":"b","at":"2026-11-11T12:00:00Z","until":"2026-11-11T12:00:00.123+08:00"}`,
		`{"number":1.5}`, `{"number":"1"}`, `{"number":1e2}`, `{"number":9223372036854775808}`, `{"number":-0}`, `{"small":null}`, `{"price":null}`,
		`{"text":5}`, `{"text":"\ud800"}`, "{\"text\":\"\xff\"}", `{"text":"\u0000"}`, `{"te\u0078t":"a"}`, `{"TEXT":"a"}`, `{"text":"a","text":"b"}`, `{"text":"a","te\u0078t":"b"}`,
		`{"at":"yesterday"}`, `{"at":5}`, `{"at":"2026-11-11"}`, `{"at":"0000-01-01T00:00:00Z"}`, `{"at":"2026-11-11T12:00:00+24:00"}`, `{"at":{"a":1}}`,
		`{"nope":1}`, `{"":1}`, `[]`, `null`, `"x"`, `1`, ``, ` `, `{`, `}`, `{}{}`, `{} x`, `{},`, `{"text"}`, `{"text":}`, `{"text":"a",}`, `{,}`, `{"text" "a"}`, `{"text":"a" "number":1}`, `{1:2}`, `{"text":"a"]`,
		`{"number":1,"number":"x"}`, `{"number":"x","nope":1}`, `{"number":"x"`, "\ufeff{}", "{}\x00", `{"text":"a"}//`, `{"number":01}`, `{"number":+1}`, `{"number":.5}`, `{"number":0x1}`, `{"number":NaN}`, `{"text":['a']}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		input := bytes.Clone(body)
		var got anyBody
		err := decodeBody(body, &got)
		require.Equal(t, input, body, "reading changes nothing")

		formed := utf8.Valid(body) && json.Valid(body) && bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{"))
		escapes := wholeEscapes.ReplaceAll(body, nil) // without those of a backslash, and without whole characters
		formed = formed && !halfEscapes.Match(escapes)
		var nulls bool
		seen := map[string]bool{}
		if formed {
			var names []string
			names, nulls = members(t, body)
			for _, name := range names {
				known := false
				for _, field := range anyFields {
					known = known || field == name
				}
				formed = formed && known && !seen[name]
				seen[name] = true
			}
		}
		var field *seckill.FieldError
		switch {
		case errors.Is(err, errBadJSON):
			require.False(t, formed, "it is well formed: %v", err)
		case errors.As(err, &field):
			require.True(t, formed, "its form is wrong, so its values do not matter: %v", err)
			require.True(t, seen[field.Field], "the field is one of the body: %v", err)
			var theirs anyBody
			require.True(t, nulls || json.Unmarshal(body, &theirs) != nil, "everybody else can read it: %v", err)
		default:
			require.NoError(t, err, "there are no other errors")
			require.True(t, formed)
			require.False(t, nulls)
			var theirs anyBody
			require.NoError(t, json.Unmarshal(body, &theirs))
			require.Empty(t, cmp.Diff(theirs, got))
			require.Equal(t, seen["price"], got.Price != nil, "what is sent is there")
			require.Equal(t, seen["until"], got.Until != nil)
		}
	})
}

// The buy route's path is read without the mux; the two must agree.
func FuzzBuyRoute(f *testing.F) {
	for _, seed := range []string{
		"/api/sales/1/ticket", "/api/sales/9223372036854775807/ticket", "/api/sales/0/ticket", "/api/sales/01/ticket", "/api/sales/-1/ticket", "/api/sales//ticket", "/api/sales/1/ticket/",
		"/api/sales/1", "/api/sales/1/tickets", "//api/sales/1/ticket", "/api/sales/1/../1/ticket", "/api/sales/ticket", "/api/sales/ticket/ticket", "/API/sales/1/ticket", "", "/api/sales/1%2Fticket", "/api/sales/1/ticket\x00",
	} {
		f.Add(seed)
	}
	api := New(Config{Metrics: noMetrics()})
	f.Fuzz(func(t *testing.T, path string) {
		id, ok := buyRoute(path)
		if !ok {
			require.Zero(t, id)
		}
		require.Equal(t, ok, id > 0 && path == ticketPath(id), "%q is the path of sale %s", path, id)
		require.False(t, ok && unclean(path))

		_, pattern := api.mux.Handler(&http.Request{Method: "POST", Host: "x", URL: &url.URL{Path: path}})
		if ok {
			require.Equal(t, "/api/sales/{sale}/ticket", pattern)
		} else if pattern == "/api/sales/{sale}/ticket" && !unclean(path) {
			parts := bytes.Split([]byte(path), []byte("/"))
			require.Len(t, parts, 5, "%q", path)
			_, err := seckill.ParseSaleID(string(parts[3]))
			require.Error(t, err, "what only the mux takes for the buy route names no sale")
		}
	})
}
