package browser

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/chromedp/chromedp"
)

// site answers / with a page that goes on to the next one again and again, by itself, and
// /form with a form whose script is slow.
func site(t *testing.T) string {
	t.Helper()
	scripted := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `<!doctype html><input name="n"><button>go</button><script>
			const n = Number(new URLSearchParams(location.search).get('n'));
			if (n < 10) setTimeout(() => location.replace('/?n=' + (n + 1)), 5);
			else document.querySelector('button').onclick = () => { document.title = document.querySelector('input').value; };
		</script>`)
	})
	mux.HandleFunc("/form", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `<!doctype html><title>form</title><form action="/lost"><input name="n" value="old"><button id="send">send</button></form>
			<div id="cover" style="position:fixed;inset:0"></div><script type="module" src="/script"></script>`)
	})
	mux.HandleFunc("/script", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-scripted:
		case <-r.Context().Done():
			return
		}
		w.Header().Set("Content-Type", "text/javascript")
		fmt.Fprint(w, `const form = document.querySelector('form');
			form.onsubmit = (e) => { e.preventDefault(); document.title = 'sent ' + form.n.value; };
			form.n.oninput = () => setTimeout(() => document.querySelector('#cover').remove(), 100);`)
	})
	mux.HandleFunc("/slow", func(http.ResponseWriter, *http.Request) { close(scripted) })
	mux.HandleFunc("/empty", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/lost", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "the browser sent the form itself") })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

func TestAPerson(t *testing.T) {
	t.Parallel()
	chromium := Start(t)
	for name, test := range map[string]func(*testing.T, *Tab){
		"outlives pages":                 testOutlivesPages,
		"waits until a page can be used": testWaitsUntilAPageCanBeUsed,
		"remembers moments":              testRemembersMoments,
		"asks one thing at a time":       testAsksOneThingAtATime,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, chromium.Tab(t, site(t)))
		})
	}
}

func testOutlivesPages(t *testing.T, p *Tab) {
	for range 3 {
		p.Open("/")
		p.Fill("input", "written") // whichever page that is
		p.Await(`location.search === '?n=10'`)
		p.Fill("input", "here")
		p.Click("button")
		p.Await(`document.title === 'here'`)
	}
}

func testWaitsUntilAPageCanBeUsed(t *testing.T, p *Tab) {
	p.Eval(fmt.Sprintf(`location.href = '%s/form'`, p.URL))
	p.Await(`shown('#send')`)
	go func() { // while the person tries to use the form already
		if res, err := http.Get(p.URL + "/slow"); err == nil {
			res.Body.Close()
		}
	}()
	p.Fill("[name=n]", "new")
	p.Click("#send")
	p.Await(`document.title === 'sent new'`)
}

func testRemembersMoments(t *testing.T, p *Tab) {
	p.Open("/?n=10")
	p.Eval(`document.title = 'first'; ''`)
	p.Remember("title")
	p.Eval(`document.title = 'for a moment'; Promise.resolve().then(() => { document.title = 'for good'; return ''; })`)
	p.Eval(`setTimeout(() => document.body.append(document.createElement('aside')), 100); ''`)
	p.Await(`document.querySelector('aside').textContent === ''`) // which throws until it is there
	p.Await(`was('title', 'first') && was('title', 'for a moment') && text('title') === 'for good'`)
}

// complaints are those of one person.
type complaints struct {
	testing.TB
	all []string
}

func (c *complaints) Errorf(format string, args ...any) {
	c.all = append(c.all, fmt.Sprintf(format, args...))
}

// Who sits down at a tab finds nothing of the person before, whose complaints are that one's.
func TestTheNextPerson(t *testing.T) {
	t.Parallel()
	tab := Start(t).Keep(t, site(t))
	before := &complaints{TB: t}
	p := tab.For(before)
	p.Open("/?n=10")
	p.Do(chromedp.EmulateViewport(390, 800))
	const left = `[innerWidth, document.cookie, localStorage.length, sessionStorage.length, name, history.length].join()`
	p.Eval(`document.cookie = 'a=b'; localStorage.c = sessionStorage.d = name = 'e'; ''`)
	p.Equal(left, "390,a=b,1,1,e,2")
	p.Eval(`setTimeout(() => console.error('late'), 1); console.error('early'); new Promise((done) => setTimeout(done, 5, ''))`)
	if err := p.Clean("/empty"); err != nil {
		t.Fatal(err)
	}
	if want := []string{"the page complains: error: early", "the page complains: error: late"}; !slices.Equal(before.all, want) {
		t.Errorf("the first person complained %q, want %q", before.all, want)
	}
	p = tab.For(t)
	p.Open("/?n=10")
	p.Equal(left, "1280,,0,0,,2")
	tab.Close()
}

// A question that was given up does nothing more once the next one is asked.
func testAsksOneThingAtATime(t *testing.T, p *Tab) {
	p.Open("/?n=10")
	p.Eval(`window.first = ` + ask(`() => window.free`, []byte(`[]`)) + `; ''`)
	p.Await(`true`)
	p.Equal(`window.free = 'it looked once more'; window.first.then(String)`, "null")
}
