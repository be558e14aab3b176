// Package web is what a buyer sees, in front of package api: the
// storefront's pages, its style and its ES modules, all embedded and served as they are.
//
// A page is a shell without a sale's data. Its modules ask the JSON API of
// package api for everything that changes, so a page is rendered once per
// process, may be cached by anybody, and is there while every back end is down.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	"seckill"
)

//go:embed storefront
var storefront embed.FS

// pages lists the shells. A page whose exists says no is the 404 page: the path
// cannot name anything, so asking the API would be in vain.
var pages = []struct {
	pattern, name string
	exists        func(*http.Request) bool
}{
	{"GET /{$}", "list", nil},
	{"GET /sale/{sale}", "sale", func(r *http.Request) bool {
		_, err := seckill.ParseSaleID(r.PathValue("sale"))
		return err == nil
	}},
	{"GET /login", "login", nil},
	{"GET /orders", "orders", nil},
	{"GET /order/detail/{order}", "order", func(r *http.Request) bool {
		return seckill.ValidTicketID(r.PathValue("order"))
	}},
}

const (
	staticPattern  = "GET /static/{version}/{file}"
	missingPattern = "/"
	missingPage    = "missing"
)

// Routes lists the ServeMux patterns that Handler serves, for a caller that
// mounts it beside others. The last one, "/", is the 404 page; it conflicts
// with no other pattern.
func Routes() []string {
	var patterns []string
	for _, p := range pages {
		patterns = append(patterns, p.pattern)
	}
	return append(patterns, staticPattern, missingPattern)
}

// contentTypes is our own table because that of package mime depends on the
// machine, and a module with a wrong type does not run.
var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

// policy lets a page load its own files, talk to its own server and show
// images from anywhere, because a sale's image may be anywhere. Nothing inline.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; " +
	"img-src 'self' https: http: data:; connect-src 'self'; form-action 'self'; " +
	"base-uri 'none'; frame-ancestors 'none'"

// Handler serves the storefront: the patterns of Routes, GET and HEAD only.
func Handler() http.Handler {
	static := readStatic()
	version := versionOf(static)
	shells := render(version)

	mux := http.NewServeMux()
	missing := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-cache")
		w.WriteHeader(http.StatusNotFound)
		w.Write(shells[missingPage].body)
	}
	for _, p := range pages {
		shell := shells[p.name]
		mux.HandleFunc(p.pattern, func(w http.ResponseWriter, r *http.Request) {
			if p.exists != nil && !p.exists(r) {
				missing(w, r)
				return
			}
			shell.serve(w, r, "no-cache")
		})
	}
	mux.HandleFunc(staticPattern, func(w http.ResponseWriter, r *http.Request) {
		f, ok := static[r.PathValue("file")]
		if !ok {
			missing(w, r)
			return
		}
		// The version is a directory, so the modules' relative imports carry it
		// and a deploy never mixes new modules with cached old ones. While nodes
		// of two versions run side by side, a node may be asked for the version
		// that it does not have: it helps out, and nobody may keep the answer.
		if r.PathValue("version") == version {
			f.serve(w, r, "public, max-age=31536000, immutable")
		} else {
			f.serve(w, r, "no-cache")
		}
	})
	mux.HandleFunc(missingPattern, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead && servedByGet(mux, r) {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		missing(w, r)
	})

	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		mux.ServeHTTP(w, r)
	})
}

// servedByGet reports whether a GET of the same path would reach a page.
func servedByGet(mux *http.ServeMux, r *http.Request) bool {
	get := r.Clone(r.Context())
	get.Method = http.MethodGet
	_, pattern := mux.Handler(get)
	return pattern != missingPattern
}

// file is an answer that never changes while the process lives.
type file struct {
	body              []byte
	contentType, etag string
}

func newFile(body []byte, contentType string) file {
	return file{body, contentType, fmt.Sprintf(`"%x"`, sha256.Sum256(body))}
}

func (f file) serve(w http.ResponseWriter, r *http.Request, cache string) {
	h := w.Header()
	h.Set("Content-Type", f.contentType)
	h.Set("Cache-Control", cache)
	h.Set("ETag", f.etag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.body))
}

func readStatic() map[string]file {
	static := map[string]file{}
	for _, e := range must(fs.ReadDir(storefront, "storefront/static")) {
		body := must(fs.ReadFile(storefront, "storefront/static/"+e.Name()))
		static[e.Name()] = newFile(body, contentTypes[path.Ext(e.Name())])
	}
	return static
}

// versionOf is one hash for all static files, so that they change together.
func versionOf(static map[string]file) string {
	// JSON writes a map in the order of its keys.
	tags := map[string]string{}
	for name, f := range static {
		tags[name] = f.etag
	}
	return fmt.Sprintf("%x", sha256.Sum256(must(json.Marshal(tags))))[:12]
}

// render makes every shell. Its words are those of the first language, until
// the module i18n.js has chosen the reader's.
func render(version string) map[string]file {
	words := readWords()[firstLanguage]
	funcs := template.FuncMap{"t": func(key string) (string, error) {
		if w, ok := words[key]; ok {
			return w, nil
		}
		return "", fmt.Errorf("no word %q", key)
	}}
	layout := template.Must(template.New("layout.html").Funcs(funcs).ParseFS(storefront, "storefront/pages/layout.html"))
	shells := map[string]file{}
	add := func(name string) {
		page := template.Must(template.Must(layout.Clone()).ParseFS(storefront, "storefront/pages/"+name+".html"))
		var b bytes.Buffer
		err := page.Execute(&b, struct{ Page, Lang, Static string }{name, firstLanguage, "/static/" + version})
		if err != nil {
			panic(err)
		}
		shells[name] = newFile(b.Bytes(), "text/html; charset=utf-8")
	}
	for _, p := range pages {
		add(p.name)
	}
	add(missingPage)
	return shells
}

const firstLanguage = "zh-CN"

// readWords reads language → key → words from the module that holds them:
// strict JSON behind its "export default".
func readWords() map[string]map[string]string {
	module := string(must(fs.ReadFile(storefront, "storefront/static/words.js")))
	_, object, _ := strings.Cut(module, "export default")
	var words map[string]map[string]string
	if err := json.Unmarshal([]byte(object), &words); err != nil {
		panic(fmt.Errorf("words.js: %w", err))
	}
	return words
}

// must is for what is embedded: it is wrong in every process, or in none.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
