package web

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"strings"
	"sync"
	"time"

	"seckill"
)

//go:embed console
var console embed.FS

// desks lists the console's shells, as pages does the storefront's.
var desks = []struct {
	pattern, name string
	exists        func(*http.Request) bool
}{
	{pattern: "GET /console/{$}", name: "board"},
	{pattern: "GET /console/new", name: "new"},
	{pattern: "GET /console/sale/{sale}", name: "sale", exists: namesSale},
	{pattern: "GET /console/orders", name: "orders"},
	{pattern: "GET /console/order/{order}", name: "order", exists: func(r *http.Request) bool {
		return seckill.ValidTicketID(strings.ToUpper(r.PathValue("order")))
	}},
	{pattern: "GET /console/people", name: "people"},
	{pattern: "GET /console/engines", name: "engines"},
	{pattern: "GET /console/log", name: "log"},
	{pattern: "GET /console/me", name: "me"},
	{pattern: "GET /console/login", name: "login"},
	{name: missingPage},
}

// shared are the storefront's files that the console uses as they are. A module of them
// imports ./words.js, which here are the console's words.
var shared = strings.Fields("i18n.js api.js clock.js machine.js frame.js style.css noscript.css favicon.svg")

const deskStatic = "GET /console/static/{version}/{file}"

// Console serves the console, alone: the patterns below /console/, with files of their
// own, so that a listener for administrators needs nothing else but the API.
func Console() http.Handler {
	b := deskBundle()
	static, version, shells := b.static, b.version, b.shells

	missing := func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		shells[language(r)][missingPage].missing(w, r)
	}
	const everythingElse = "/"
	mux := http.NewServeMux()
	for _, p := range desks {
		if p.pattern == "" {
			continue
		}
		mux.HandleFunc(p.pattern, func(w http.ResponseWriter, r *http.Request) {
			if p.exists != nil && !p.exists(r) {
				missing(w, r)
				return
			}
			shells[language(r)][p.name].serve(w, r, "no-cache")
		})
	}
	mux.HandleFunc(deskStatic, func(w http.ResponseWriter, r *http.Request) {
		f, ok := static[r.PathValue("file")]
		if !ok {
			missing(w, r)
			return
		}
		f.serve(w, r, keptFor(r.PathValue("version") == version))
	})
	mux.HandleFunc("GET /console", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/console/", http.StatusMovedPermanently)
	})
	mux.HandleFunc(everythingElse, func(w http.ResponseWriter, r *http.Request) {
		if to := withoutSlash(mux, r, everythingElse); to != "" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			http.Redirect(w, r, to, http.StatusMovedPermanently)
			return
		}
		missing(w, r)
	})
	return protected(mux)
}

// deskBundle is made once in a process.
var deskBundle = sync.OnceValue(func() *bundle {
	b := &bundle{static: deskFiles()}
	b.version = versionOf(b.static)
	b.shells = renderDesks("/console/static/" + b.version)
	return b
})

// Both serves the storefront and the console. It makes them for the first request: that takes
// some 20 ms, a quarter of a start, and most nodes that start are never asked for a page.
func Both(sale Sale) http.Handler {
	made := sync.OnceValue(func() http.Handler {
		mux := http.NewServeMux()
		desk := Console()
		mux.Handle("/", Handler(sale))
		mux.Handle("/console", desk)
		mux.Handle("/console/", desk)
		return mux
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { made().ServeHTTP(w, r) })
}

// deskFiles are the console's own files, those it shares, and its words as a module.
func deskFiles() map[string]file {
	all, static := readStatic(), readFiles(console, "console/static")
	for _, name := range shared {
		static[name] = all[name]
	}
	words := append([]byte("export default "), must(json.Marshal(deskWords()))...)
	static["words.js"] = newFile(words, contentTypes[".js"])
	return static
}

// deskWords are the console's words, language → key → words: a folder for each language.
var deskWords = sync.OnceValue(func() map[string]map[string]string {
	words := map[string]map[string]string{}
	for _, lang := range languages {
		of := map[string]string{} // each file adds its own
		words[lang] = of
		folder := "console/words/" + lang
		for _, e := range must(fs.ReadDir(console, folder)) {
			if err := json.Unmarshal(must(fs.ReadFile(console, folder+"/"+e.Name())), &of); err != nil {
				panic(fmt.Errorf("%s/%s: %w", folder, e.Name(), err))
			}
		}
	}
	return words
})

// desk is what the console's templates are given.
type desk struct {
	Page, Lang, Other, Static string
	Zone                      int // minutes that the shop's time is ahead of UTC
	Modules                   []string
}

func renderDesks(static string) map[string]map[string]file {
	shells := map[string]map[string]file{}
	for i, lang := range languages {
		shells[lang] = map[string]file{}
		words := deskWords()[lang]
		funcs := template.FuncMap{"t": func(key string) (string, error) {
			if w, ok := words[key]; ok {
				return w, nil
			}
			return "", fmt.Errorf("no word %q", key)
		}, "list": strings.Fields}
		layout := template.Must(template.New("layout.html").Funcs(funcs).ParseFS(console, "console/pages/layout.html"))
		_, zone := time.Now().Zone()
		for _, p := range desks {
			page := template.Must(template.Must(layout.Clone()).ParseFS(console, "console/pages/"+p.name+".html"))
			var b bytes.Buffer
			err := page.Execute(&b, desk{Page: p.name, Lang: lang, Other: languages[1-i], Static: static, Zone: zone / 60,
				Modules: []string{"desk.js", "frame.js", "i18n.js", "words.js", "api.js", "clock.js", "machine.js"}})
			if err != nil {
				panic(err)
			}
			f := newFile(b.Bytes(), html)
			f.vary = byLanguage
			shells[lang][p.name] = f
		}
	}
	return shells
}

// remarks are the comments of a style sheet: as those of a module, they are for its readers.
var remarks = regexp.MustCompile(`(?s)/\*.*?\*/`)

// readFiles reads a folder of files that pages ask for.
func readFiles(from fs.FS, folder string) map[string]file {
	static := map[string]file{}
	for _, e := range must(fs.ReadDir(from, folder)) {
		body := must(fs.ReadFile(from, folder+"/"+e.Name()))
		switch path.Ext(e.Name()) {
		case ".js":
			body = withoutComments(body)
		case ".css":
			body = remarks.ReplaceAll(body, nil)
		}
		static[e.Name()] = newFile(body, contentTypes[path.Ext(e.Name())])
	}
	return static
}
