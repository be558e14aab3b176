package web

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"seckill"
)

func TestConsoleRoutes(t *testing.T) {
	t.Parallel()
	h := Both(nil)
	for path, status := range map[string]int{
		"/": 200, "/console/": 200, "/console": 301, "/console/new": 200, "/console/orders/": 301, "/console/sale/1/": 301, "/console/nothing/": 404, "/console/static/": 404, "/console/sale/1": 200, "/console/sale/0": 404, "/console/sale/x": 404, "/console/orders": 200,
		"/console/order/" + anOrder: 200, "/console/order/" + strings.ToLower(anOrder): 200, "/console/order/1": 404, "/console/people": 200, "/console/engines": 200,
		"/console/log": 200, "/console/me": 200, "/console/login": 200, "/console/nowhere": 404, "/console/static/x/desk.js": 200, "/console/static/x/sale.html": 404,
		"/console/static/x/challenge.js": 404,
	} {
		r := ask(t, h, "GET", path)
		require.Equal(t, status, r.StatusCode, path)
		if status != 301 {
			require.Contains(t, r.Header.Get("Content-Security-Policy"), "script-src 'self'", path)
			require.NotContains(t, r.Header.Get("Content-Security-Policy"), "unsafe", path)
		}
	}
	for path, status := range map[string]int{"/console/": 200, "/": 404, "/sale/1": 404, "/login": 404} {
		require.Equal(t, status, ask(t, Console(), "GET", path).StatusCode, "the console alone: %s", path)
	}
	require.Equal(t, 405, ask(t, h, "POST", "/console/orders").StatusCode)
}

func TestTheConsolesWordsAreCompleteInBothLanguages(t *testing.T) {
	t.Parallel()
	words := deskWords()
	zh, en := words["zh-CN"], words["en"]
	slots := regexp.MustCompile(`\{\w+\}`)
	for key, text := range zh {
		other, ok := en[key]
		require.True(t, ok, "%s is not in English", key)
		a, b := slots.FindAllString(text, -1), slots.FindAllString(other, -1)
		slices.Sort(a)
		slices.Sort(b)
		require.Equal(t, slices.Compact(a), slices.Compact(b), key)
		require.NotEmpty(t, text, key)
		require.NotEmpty(t, other, key)
	}
	require.Len(t, en, len(zh), "words that are not in Chinese")
	for _, v := range seckill.Verdicts() {
		require.NotEmpty(t, en["verdict."+v.String()], "no words for the verdict %s", v)
	}
	// Every button can be pressed, asks in words what it does, and tells what was done.
	acts := regexp.MustCompile(`(?:of|simple)\('(\w+)'|name: '(\w+)', ask|name: go \? '(\w+)' : '(\w+)'`)
	named := 0
	for name, f := range deskFiles() {
		for _, m := range acts.FindAllStringSubmatch(string(f.body), -1) {
			for _, act := range m[1:] {
				if act == "" {
					continue
				}
				named++
				for _, prefix := range []string{"act.", "did."} {
					require.NotEmpty(t, en[prefix+act], "%s: no words for %s%s", name, prefix, act)
				}
			}
		}
	}
	require.Greater(t, named, 20)
}

// A key is a quoted prefix.name; a prefix alone is completed at run time.
func TestTheConsolesModulesNameOnlyKnownWords(t *testing.T) {
	t.Parallel()
	words := deskWords()["en"]
	prefixes, longer := map[string]bool{}, map[string]bool{}
	for key := range words {
		prefixes[strings.SplitN(key, ".", 2)[0]] = true
		longer[key[:strings.LastIndex(key, ".")+1]] = true
	}
	key := regexp.MustCompile(`'(\w+)\.(\w+)'`)
	for name, f := range deskFiles() {
		for _, m := range key.FindAllStringSubmatch(string(f.body), -1) {
			if full := m[1] + "." + m[2]; prefixes[m[1]] && words[full] == "" && !longer[full+"."] && m[2] != "js" {
				if slices.Contains(shared, name) && !strings.HasPrefix(full, "nav.") {
					continue // of the storefront's pages alone
				}
				t.Errorf("%s says %s, for which there are no words", name, full)
			}
		}
	}
}

func TestTheConsoleAsksOnlyForFilesThatExist(t *testing.T) {
	t.Parallel()
	h := Console()
	link := regexp.MustCompile(`(?:src|href)="(/console/static/[^"]+)"`)
	imports := regexp.MustCompile(`(?m)^import (?:[^']* from )?'\./([\w.]+)'`)
	for _, d := range desks {
		path, ok := strings.CutPrefix(d.pattern, "GET ")
		if !ok {
			continue
		}
		path = strings.NewReplacer("{$}", "", "{sale}", "1", "{order}", anOrder).Replace(path)
		for _, m := range link.FindAllStringSubmatch(body(t, ask(t, h, "GET", path)), -1) {
			require.Equal(t, 200, ask(t, h, "GET", m[1]).StatusCode, "%s asks for %s", path, m[1])
		}
	}
	files := deskFiles()
	for name, f := range files {
		require.NotEmpty(t, f.contentType, name)
		for _, m := range imports.FindAllStringSubmatch(string(f.body), -1) {
			require.Contains(t, files, m[1], "%s imports %s", name, m[1])
		}
	}
}
