package api

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"fmt"
	"net/http"
	"sync"
	"time"

	"seckill/internal/packed"
)

//go:embed openapi.json
var openapi []byte

// openAPI is the OpenAPI document as it is sent: it is the same for everybody as
// long as the process lives, so it is packed once, and may be kept.
type openAPI struct {
	packed func() []byte
	tag    string
}

// newOpenAPI makes it once in a process.
var newOpenAPI = sync.OnceValue(func() openAPI {
	return openAPI{packed.Once(openapi), fmt.Sprintf("%x", sha256.Sum256(openapi))[:16]}
})

func (d openAPI) serve(w http.ResponseWriter, r *request) error {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "public, max-age=300")
	h.Add("Vary", "Accept-Encoding")
	body, tag := openapi, `"`+d.tag+`"`
	if packed.Taken(r.Request) {
		h.Set("Content-Encoding", "gzip")
		body, tag = d.packed(), `"`+d.tag+`-gzip"`
	}
	h.Set("ETag", tag)
	http.ServeContent(w, r.Request, "", time.Time{}, bytes.NewReader(body))
	return nil
}
