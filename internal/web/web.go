// Package web is what people see, in front of package api: the storefront's pages for
// buyers, the console's for who runs the sales, with their styles and ES modules, all
// embedded and served without a build step.
//
// A page is a shell. Its modules ask the JSON API of package api for everything
// that changes, so it may be cached by anybody and is there while every back end
// is down. Only a sale's page carries something of the sale: the title, the price
// and the picture, which a shared link shows.
package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"seckill"
	"seckill/internal/packed"
)

//go:embed storefront
var storefront embed.FS

// pages lists the shells. A page whose exists says no is the 404 page: the path
// cannot name anything, so asking the API would be in vain. The modules are what the
// page's script imports, so that a browser asks for all of them at once; a test
// compares. What a script loads only when it is needed, the check, is not among them.
var pages = []struct {
	pattern, name    string
	template, script string // by default the name
	exists           func(*http.Request) bool
	modules          string
}{
	{pattern: "GET /{$}", name: "list", modules: "look machine"},
	{pattern: "GET /sale/{sale}", name: "sale", exists: namesSale, modules: "look machine"},
	{pattern: "GET /login", name: "login"},
	{pattern: "GET /register", name: "register", template: "login", script: "login"},
	{pattern: "GET /orders", name: "orders", modules: "look machine"},
	{pattern: "GET /order/detail/{order}", name: "order", modules: "look machine", exists: func(r *http.Request) bool {
		return seckill.ValidTicketID(r.PathValue("order"))
	}},
	{name: missingPage},
}

// common are the modules of every page.
const common = "frame words i18n api clock machine"

// groups are the parts of the list, in their order.
var groups = []string{"now", "soon", "gone", "over"}

const (
	staticPattern   = "GET /static/{version}/{file}"
	reminderPattern = "GET /sale/{sale}/opening.ics"
	iconPattern     = "GET /favicon.ico"
	missingPattern  = "/"
	missingPage     = "missing"
)

func namesSale(r *http.Request) bool {
	_, err := seckill.ParseSaleID(r.PathValue("sale"))
	return err == nil
}

// contentTypes is our own table because that of package mime depends on the
// machine, and a module with a wrong type does not run.
var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
	".ico": "image/vnd.microsoft.icon",
}

const html = "text/html; charset=utf-8"

// policy lets a page load its own files, talk to its own server and show
// images from anywhere, because a sale's image may be anywhere. Nothing inline.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; " +
	"img-src 'self' https: http: data:; connect-src 'self'; worker-src 'self'; media-src data:; form-action 'self'; " +
	"base-uri 'none'; frame-ancestors 'none'"

// site is what Handler serves.
type site struct {
	*bundle
	sale  Sale
	sales saleShells
}

// bundle is what is the same for every site: the embedded files, and the shells
// that show nothing of a sale.
type bundle struct {
	version string // of all static files together
	static  map[string]file
	shells  map[string]map[string]file // language → page
	layouts map[string]*template.Template
}

// theBundle makes it once in a process.
var theBundle = sync.OnceValue(func() *bundle {
	b := &bundle{static: readStatic()}
	b.version = versionOf(b.static)
	b.render()
	return b
})

// Sale finds a sale for its page; nil where there are none. It MUST answer from what
// the node remembers, if it can.
type Sale func(ctx context.Context, id seckill.SaleID) (seckill.Sale, error)

// Handler serves the storefront: the patterns of Routes, GET and HEAD only.
func Handler(sale Sale) http.Handler {
	s := &site{bundle: theBundle(), sale: sale, sales: saleShells{known: map[saleKey]saleShell{}}}

	mux := http.NewServeMux()
	for _, p := range pages {
		if p.pattern == "" {
			continue
		}
		mux.HandleFunc(p.pattern, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case p.exists != nil && !p.exists(r):
				s.missing(w, r)
			case p.name == "sale":
				s.serveSale(w, r)
			default:
				s.shells[language(r)][p.name].serve(w, r, "no-cache")
			}
		})
	}
	mux.HandleFunc(staticPattern, func(w http.ResponseWriter, r *http.Request) {
		f, ok := s.static[r.PathValue("file")]
		if !ok {
			s.missing(w, r)
			return
		}
		// The version is a directory, so the modules' relative imports carry it
		// and a deploy never mixes new modules with cached old ones. While nodes
		// of two versions run side by side, a node may be asked for the version
		// that it does not have: it helps out, and nobody may keep the answer.
		f.serve(w, r, keptFor(r.PathValue("version") == s.version))
	})
	mux.HandleFunc(iconPattern, func(w http.ResponseWriter, r *http.Request) {
		s.static["favicon.ico"].serve(w, r, "public, max-age=86400")
	})
	mux.HandleFunc(reminderPattern, s.serveReminder)
	mux.HandleFunc(missingPattern, func(w http.ResponseWriter, r *http.Request) {
		get := r.Clone(r.Context())
		get.Method = http.MethodGet
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			if _, pattern := mux.Handler(get); pattern != missingPattern {
				w.Header().Set("Allow", "GET, HEAD")
				http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
				return
			}
		} else if to := withoutSlash(mux, r, missingPattern); to != "" {
			http.Redirect(w, r, to, http.StatusMovedPermanently)
			return
		}
		s.missing(w, r)
	})

	return protected(mux)
}

// protected sets the headers that keep a page to itself.
func protected(pages http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		pages.ServeHTTP(w, r)
	})
}

// keptFor is how long a static file may be kept: for ever under its own version.
func keptFor(current bool) string {
	if current {
		return "public, max-age=31536000, immutable"
	}
	return "no-cache"
}

func (s *site) missing(w http.ResponseWriter, r *http.Request) {
	s.shells[language(r)][missingPage].missing(w, r)
}

// missing answers that there is no such page.
func (f file) missing(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", f.contentType)
	h.Set("Cache-Control", "no-cache")
	h.Set("Vary", f.vary)
	packed.Write(w, r, http.StatusNotFound, f.body)
}

// file is an answer whose bytes exist before the request does.
type file struct {
	body              []byte
	small             func() []byte // the body packed, from the first request that takes it on; nil where that does not pay
	contentType, etag string
	vary              string // what else the bytes depend on
}

func newFile(body []byte, contentType string) file {
	f := file{body: body, contentType: contentType, etag: fmt.Sprintf("%x", sha256.Sum256(body))}
	if len(body) >= packed.Smallest {
		f.small = packed.Once(body)
	}
	return f
}

func (f file) serve(w http.ResponseWriter, r *http.Request, cache string) {
	h := w.Header()
	h.Set("Content-Type", f.contentType)
	h.Set("Cache-Control", cache)
	h.Set("Vary", strings.TrimPrefix(f.vary+", Accept-Encoding", ", "))
	small, etag := f.small != nil && packed.Taken(r), `"`+f.etag+`"`
	if small {
		etag = `"` + f.etag + `-gzip"`
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("ETag", etag)
	if slices.ContainsFunc(strings.Split(r.Header.Get("If-None-Match"), ","), func(t string) bool {
		t = strings.TrimPrefix(strings.TrimSpace(t), "W/")
		return t == etag || t == "*"
	}) {
		h.Del("Content-Type")
		h.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body := f.body
	if small { // not before: whoever has it already is sent nothing
		body = f.small()
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body)
}

func readStatic() map[string]file { return readFiles(storefront, "storefront/static") }

// withoutComments empties the lines that are nothing but a comment and takes the
// indentation away: a third of a module is for its readers, not for a browser. The
// lines keep their numbers. No module has a text of several lines; a test holds that.
func withoutComments(module []byte) []byte {
	lines := bytes.Split(module, []byte("\n"))
	for i, line := range lines {
		if bytes.HasPrefix(bytes.TrimSpace(line), []byte("//")) {
			lines[i] = nil
		} else {
			lines[i] = bytes.TrimLeft(line, " ")
		}
	}
	return bytes.Join(lines, []byte("\n"))
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

// must is for what is embedded: it is wrong in every process, or in none.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// withoutSlash is where an address leads that somebody has typed with a slash at its end;
// empty: nowhere but to the pattern of what is missing.
func withoutSlash(mux *http.ServeMux, r *http.Request, missing string) string {
	to := strings.TrimRight(r.URL.Path, "/")
	if to == r.URL.Path || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.Contains(to, "/static") {
		return ""
	}
	get := r.Clone(r.Context())
	get.Method, get.URL.Path, get.URL.RawPath = http.MethodGet, to, ""
	if _, pattern := mux.Handler(get); pattern == missing {
		return ""
	}
	return get.URL.RequestURI()
}
