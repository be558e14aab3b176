// Package packed sends answers compressed to whoever takes gzip, in front of
// package api: the pages and their files, which are packed once, and the lists of the
// API. A node that stands alone needs no other server for that.
package packed

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// Smallest is the size in bytes from which an answer is packed: a smaller one fits
// into one packet anyway.
const Smallest = 1024

// Taken reports whether the client takes gzip.
func Taken(r *http.Request) bool {
	for _, h := range r.Header["Accept-Encoding"] {
		for coding := range strings.SplitSeq(h, ",") {
			name, weight, _ := strings.Cut(coding, ";")
			if strings.EqualFold(strings.TrimSpace(name), "gzip") {
				w := strings.TrimSpace(weight)
				q, err := strconv.ParseFloat(strings.TrimPrefix(w, "q="), 64)
				return w == "" || err == nil && q > 0
			}
		}
	}
	return false
}

// Once packs what is sent again and again, as small as gzip makes it, when it is first
// asked for: of all that a node can send most is never asked of it, and a start that packs
// everything takes a third longer and 60 MB.
func Once(body []byte) func() []byte {
	return sync.OnceValue(func() []byte { return pack(body, gzip.BestCompression) })
}

func pack(body []byte, level int) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, level)
	if err != nil {
		panic(err) // the level is one of gzip's own
	}
	w.Write(body)
	w.Close()
	return b.Bytes()
}

// fast are writers for what is packed on its way out.
var fast = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		panic(err)
	}
	return w
}}

// Write sends the body, packed where that is worth it. The caller has set the
// headers of the body as it is.
func Write(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	h := w.Header()
	h.Add("Vary", "Accept-Encoding")
	if len(body) >= Smallest && Taken(r) {
		var b bytes.Buffer
		z := fast.Get().(*gzip.Writer)
		z.Reset(&b)
		z.Write(body)
		z.Close()
		fast.Put(z)
		h.Set("Content-Encoding", "gzip")
		body = b.Bytes()
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
}
