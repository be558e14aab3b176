package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"seckill"
)

// languages are those of the words, the first one for who says nothing.
var languages = []string{"zh-CN", "en"}

// languageCookie keeps what the reader has chosen on a page; the module i18n.js sets
// it.
const languageCookie = "seckill_lang"

// language is the reader's: the first that is one of ours among what they have chosen
// and what their browser wishes. Who wishes only others is shown English. nginx's
// seckill.conf has the same rule, for its cache of pages.
func language(r *http.Request) string {
	wishes := strings.Join(r.Header["Accept-Language"], ",")
	if c, err := r.Cookie(languageCookie); err == nil {
		wishes = c.Value + "," + wishes
	}
	if strings.Trim(wishes, ", ") == "" {
		return languages[0]
	}
	for wish := range strings.SplitSeq(strings.ToLower(wishes), ",") {
		name, _, _ := strings.Cut(strings.TrimSpace(wish), ";")
		primary, _, _ := strings.Cut(strings.TrimSpace(name), "-")
		switch primary {
		case "zh":
			return "zh-CN"
		case "en":
			return "en"
		}
	}
	return "en"
}

// byLanguage is what a shell depends on besides the path.
const byLanguage = "Accept-Language, Cookie"

// shell is what the templates are given.
type shell struct {
	Page, Script, Lang, Other, Static string
	Zone                              int // minutes that the shop's time is ahead of UTC
	Modules, Groups                   []string
	About                             string
	Sale                              *preview
}

// preview is what a shared link shows of a sale.
type preview struct {
	PageTitle, Title, Summary, Image, Price, Amount, Currency string
}

// render makes every shell in every language, and the templates of the sale's.
func (s *bundle) render() {
	s.shells, s.layouts = map[string]map[string]file{}, map[string]*template.Template{}
	words := readWords()
	for _, lang := range languages {
		s.shells[lang] = map[string]file{}
		funcs := template.FuncMap{"t": func(key string) (string, error) {
			if w, ok := words[lang][key]; ok {
				return w, nil
			}
			return "", fmt.Errorf("no word %q", key)
		}}
		layout := template.Must(template.New("layout.html").Funcs(funcs).ParseFS(storefront, "storefront/pages/layout.html"))
		for _, p := range pages {
			name := or(p.template, p.name)
			page := template.Must(template.Must(layout.Clone()).ParseFS(storefront, "storefront/pages/"+name+".html"))
			if p.name == "sale" {
				s.layouts[lang] = page
			}
			s.shells[lang][p.name] = s.execute(page, s.shell(p.name, lang))
		}
	}
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func (s *bundle) shell(name, lang string) shell {
	v := shell{Page: name, Script: name, Lang: lang, Other: languages[0], Static: "/static/" + s.version, Groups: groups}
	if lang == languages[0] {
		v.Other = languages[1]
	}
	_, zone := time.Now().Zone()
	v.Zone = zone / 60
	for _, p := range pages {
		if p.name == name {
			v.Script = or(p.script, name)
			seen := map[string]bool{}
			for _, m := range strings.Fields(common + " " + p.modules) {
				if !seen[m] {
					v.Modules = append(v.Modules, m+".js")
				}
				seen[m] = true
			}
		}
	}
	return v
}

func (s *bundle) execute(page *template.Template, v shell) file {
	var b bytes.Buffer
	if err := page.Execute(&b, v); err != nil {
		panic(err)
	}
	f := newFile(b.Bytes(), html)
	f.vary = byLanguage
	return f
}

// --- the page of a sale ------------------------------------------------------

// Limits of the sale's shell.
const (
	shellPatience = 300 * time.Millisecond // for the sale; after it the page comes without
	shellsKept    = 500
	summaryLength = 160 // characters of a preview
)

type saleKey struct {
	lang string
	id   seckill.SaleID
}

// saleShell is a rendered page, and what it was rendered of.
type saleShell struct {
	of   preview
	text string
	file file
}

type saleShells struct {
	mu    sync.Mutex
	known map[saleKey]saleShell
}

// serveSale answers with the sale's page. Without the sale, which may not exist or
// cannot be read now, the page is the same but for its preview.
func (s *site) serveSale(w http.ResponseWriter, r *http.Request) {
	lang := language(r)
	id, err := seckill.ParseSaleID(r.PathValue("sale"))
	if err == nil && s.sale != nil {
		ctx, cancel := context.WithTimeout(r.Context(), shellPatience)
		sale, err := s.sale(ctx, id)
		cancel()
		if err == nil {
			s.shellOf(lang, sale).serve(w, r, "no-cache")
			return
		}
	}
	s.shells[lang]["sale"].serve(w, r, "no-cache")
}

func (s *site) shellOf(lang string, sale seckill.Sale) file {
	words := readWords()[lang]
	price := seckill.FormatMoney(sale.Price, sale.Currency)
	amount, _, _ := strings.Cut(price, " ")
	v := preview{
		PageTitle: strings.ReplaceAll(words["title.named"], "{title}", sale.Title), Title: sale.Title, Image: sale.Image,
		Price: price, Amount: amount, Currency: sale.Currency,
		Summary: words["sale.price"] + " " + price,
	}
	if sale.Description != "" {
		v.Summary += " · " + shortened(sale.Description, summaryLength)
	}
	key := saleKey{lang, sale.ID}
	s.sales.mu.Lock()
	was, ok := s.sales.known[key]
	s.sales.mu.Unlock()
	if ok && was.of == v && was.text == sale.Description {
		return was.file
	}
	data := s.shell("sale", lang)
	data.Sale, data.About = &v, sale.Description
	f := s.execute(s.layouts[lang], data)
	s.sales.mu.Lock()
	defer s.sales.mu.Unlock()
	if len(s.sales.known) >= shellsKept {
		clear(s.sales.known)
	}
	s.sales.known[key] = saleShell{v, sale.Description, f}
	return f
}

// shortened is the text on one line, cut at n characters.
func shortened(text string, n int) string {
	runes := []rune(strings.Join(strings.Fields(text), " "))
	if len(runes) > n {
		return string(runes[:n-1]) + "…"
	}
	return string(runes)
}

// --- words -------------------------------------------------------------------

// wordModules hold the words: those of every page, and those of the check, which a page
// loads only when it asks for one.
var wordModules = []string{"words.js", "challengewords.js"}

// readWords returns language → key → words from the modules that hold them.
var readWords = sync.OnceValue(func() map[string]map[string]string {
	words := map[string]map[string]string{}
	for _, name := range wordModules {
		for lang, of := range wordsIn(name) {
			if words[lang] == nil {
				words[lang] = map[string]string{}
			}
			maps.Copy(words[lang], of)
		}
	}
	return words
})

// wordsIn reads one module of words: strict JSON behind its "export default".
func wordsIn(name string) (words map[string]map[string]string) {
	_, object, _ := strings.Cut(string(must(fs.ReadFile(storefront, "storefront/static/"+name))), "export default")
	if err := json.Unmarshal([]byte(object), &words); err != nil {
		panic(fmt.Errorf("%s: %w", name, err))
	}
	return words
}
