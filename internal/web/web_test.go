package web

import (
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"seckill"
)

func ask(t *testing.T, h http.Handler, method, target string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const anOrder = "06F3K2M9PQRSTUVWXYZABCDEFG"

func TestRoutes(t *testing.T) {
	t.Parallel()
	h := Handler(nil)
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/", 200},
		{"HEAD", "/", 200},
		{"GET", "/sale/1", 200},
		{"GET", "/sale/9223372036854775807", 200},
		{"GET", "/sale/0", 404},
		{"GET", "/sale/-1", 404},
		{"GET", "/sale/9223372036854775808", 404},
		{"GET", "/sale/1;drop", 404},
		{"GET", "/sale/", 404},
		{"GET", "/sale/1/", 301},
		{"GET", "/orders/", 301},
		{"GET", "/register", 200},
		{"GET", "/favicon.ico", 200},
		{"GET", "/sale/1/opening.ics", 404},
		{"POST", "/sale/1/", 404},
		{"GET", "/login", 200},
		{"GET", "/login?next=//evil.example", 200},
		{"GET", "/orders", 200},
		{"GET", "/order/detail/" + anOrder, 200},
		{"GET", "/order/detail/1", 404},
		{"GET", "/order/detail/..%2f..%2fetc", 404},
		{"GET", "/nowhere", 404},
		{"HEAD", "/nowhere", 404},
		{"POST", "/nowhere", 404},
		{"POST", "/", 405},
		{"POST", "/login", 405},
		{"DELETE", "/sale/1", 405},
		{"GET", "/static/x/words.js", 200},
		{"GET", "/static/x/nothing.js", 404},
		{"GET", "/static/x/..%2fpages%2flayout.html", 404},
		{"GET", "/static/", 404},
	} {
		r := ask(t, h, c.method, c.path)
		if r.StatusCode != c.status {
			t.Errorf("%s %s: status %d, want %d", c.method, c.path, r.StatusCode, c.status)
		}
		if c.status == 405 && r.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s %s: Allow %q", c.method, c.path, r.Header.Get("Allow"))
		}
		if c.status == 404 && r.Header.Get("Content-Type") != "text/html; charset=utf-8" {
			t.Errorf("%s %s: a 404 of type %q", c.method, c.path, r.Header.Get("Content-Type"))
		}
	}
}

func TestThePagesFitBesideAnAPI(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	api := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	mux.Handle("/api/", api)
	mux.Handle("POST /api/sales/{sale}/ticket", api)
	mux.Handle("/", Handler(nil))
	for target, want := range map[string]int{"/": 200, "/sale/7": 200, "/api/none": 418, "/none": 404} {
		if r := ask(t, mux, "GET", target); r.StatusCode != want {
			t.Errorf("GET %s: status %d, want %d", target, r.StatusCode, want)
		}
	}
}

func TestEveryAnswerHasTheHeaders(t *testing.T) {
	t.Parallel()
	h := Handler(nil)
	for _, target := range []string{"/", "/sale/1", "/login", "/orders", "/order/detail/" + anOrder, "/nowhere", "/static/x/style.css"} {
		header := ask(t, h, "GET", target).Header
		for name, want := range map[string]string{
			"X-Content-Type-Options":     "nosniff",
			"Referrer-Policy":            "same-origin",
			"Cross-Origin-Opener-Policy": "same-origin",
			"Cache-Control":              "no-cache",
		} {
			if got := header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", target, name, got, want)
			}
		}
		csp := header.Get("Content-Security-Policy")
		for _, directive := range []string{
			"default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' https: http: data:",
			"connect-src 'self'", "worker-src 'self'", "media-src data:", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'",
		} {
			if !slices.Contains(strings.Split(csp, "; "), directive) {
				t.Errorf("%s: no %q in the policy %q", target, directive, csp)
			}
		}
		if strings.Contains(csp, "unsafe") {
			t.Errorf("%s: an unsafe policy %q", target, csp)
		}
	}
}

func TestCaches(t *testing.T) {
	t.Parallel()
	h := Handler(nil)
	version := regexp.MustCompile(`/static/([0-9a-f]{12})/`).FindStringSubmatch(body(t, ask(t, h, "GET", "/")))[1]

	for target, cache := range map[string]string{
		"/":                                    "no-cache",
		"/sale/1":                              "no-cache",
		"/static/" + version + "/sale.js":      "public, max-age=31536000, immutable",
		"/static/" + version + "/favicon.svg":  "public, max-age=31536000, immutable",
		"/static/ofanothernode/sale.js":        "no-cache",
		"/static/" + version[:11] + "/sale.js": "no-cache",
	} {
		first := ask(t, h, "GET", target)
		etag := first.Header.Get("ETag")
		if first.StatusCode != 200 || etag == "" || first.Header.Get("Cache-Control") != cache {
			t.Errorf("%s: status %d, ETag %s, Cache-Control %q, want %q", target, first.StatusCode, etag, first.Header.Get("Cache-Control"), cache)
		}
		again := ask(t, h, "GET", target, "If-None-Match", etag)
		if again.StatusCode != 304 || body(t, again) != "" {
			t.Errorf("%s with its ETag: status %d, want an empty 304", target, again.StatusCode)
		}
		if again.Header.Get("Content-Security-Policy") == "" {
			t.Errorf("%s: a 304 without a policy", target)
		}
	}
	if r := ask(t, h, "GET", "/nowhere", "If-None-Match", "*"); r.StatusCode != 404 {
		t.Errorf("/nowhere with If-None-Match: status %d, want 404", r.StatusCode)
	}
}

func TestTheVersionChangesWithAnyFile(t *testing.T) {
	t.Parallel()
	static := readStatic()
	before := versionOf(static)
	static["api.js"] = newFile([]byte("changed"), "text/javascript")
	if versionOf(static) == before {
		t.Error("a changed module keeps the version")
	}
}

func TestPagesAskOnlyForFilesThatExist(t *testing.T) {
	t.Parallel()
	h := Handler(nil)
	link := regexp.MustCompile(`(?:src|href)="(/static/[^"]+)"`)
	imports := regexp.MustCompile("(?m)(?:^import (?:[^']* from )?'|\\bimport\\(`|new URL\\(')\\./([\\w.]+)")
	for _, target := range []string{"/", "/sale/1", "/login", "/register", "/orders", "/order/detail/" + anOrder, "/nowhere"} {
		for _, m := range link.FindAllStringSubmatch(body(t, ask(t, h, "GET", target)), -1) {
			r := ask(t, h, "GET", m[1])
			if r.StatusCode != 200 || r.Header.Get("Content-Type") != contentTypes[path.Ext(m[1])] {
				t.Errorf("%s asks for %s: status %d, type %q", target, m[1], r.StatusCode, r.Header.Get("Content-Type"))
			}
		}
	}
	for name, f := range readStatic() {
		if f.contentType == "" {
			t.Errorf("%s has no content type", name)
		}
		for _, m := range imports.FindAllStringSubmatch(string(f.body), -1) {
			if _, ok := readStatic()[m[1]]; !ok {
				t.Errorf("%s imports %s, which is not there", name, m[1])
			}
		}
	}
}

// What nobody asks for is dead: it may be the only place in which something is still right.
func TestEveryFileIsAskedForBySomething(t *testing.T) {
	t.Parallel()
	named := regexp.MustCompile(`(?:/static/\w+/|['\x60]\./)([\w-]+\.\w+)`)
	for _, b := range []*bundle{theBundle(), deskBundle()} {
		asked := map[string]bool{"favicon.ico": true} // browsers ask for it of their own accord
		var follow func(text []byte)
		follow = func(text []byte) {
			for _, m := range named.FindAllSubmatch(text, -1) {
				if name := string(m[1]); !asked[name] {
					asked[name] = true
					follow(b.static[name].body)
				}
			}
		}
		for _, page := range b.shells["en"] {
			follow(page.body)
		}
		for name := range b.static {
			if !asked[name] {
				t.Errorf("nothing asks for %s", name)
			}
		}
	}
}

func TestWordsAreCompleteInBothLanguages(t *testing.T) {
	t.Parallel()
	words := readWords()
	zh, en := words["zh-CN"], words["en"]
	if len(words) != 2 || len(zh) == 0 {
		t.Fatalf("%d languages", len(words))
	}
	slots := regexp.MustCompile(`\{\w+\}`)
	for key, text := range zh {
		other, ok := en[key]
		if !ok {
			t.Errorf("%s is not in English", key)
		}
		a, b := slots.FindAllString(text, -1), slots.FindAllString(other, -1)
		slices.Sort(a)
		slices.Sort(b)
		if !slices.Equal(a, b) {
			t.Errorf("%s has %v in Chinese and %v in English", key, a, b)
		}
	}
	for key := range en {
		if _, ok := zh[key]; !ok {
			t.Errorf("%s is not in Chinese", key)
		}
	}

	// The contract's words that a buyer can meet.
	var need []string
	for _, v := range seckill.Verdicts() {
		need = append(need, "verdict."+v.String())
	}
	for _, r := range []seckill.Reason{seckill.ReasonSoldOut, seckill.ReasonLimit, seckill.ReasonNoSale, seckill.ReasonPoison, "other"} {
		need = append(need, "reason."+string(r))
	}
	for _, s := range []seckill.SaleState{seckill.StateScheduled, seckill.StateOpen, seckill.StatePaused, seckill.StateSoldOut, seckill.StateEnded} {
		need = append(need, "state."+string(s))
	}
	for _, s := range []seckill.OrderState{seckill.Unpaid, seckill.Paid, seckill.Cancelled, seckill.Expired, seckill.Refunded} {
		need = append(need, "order_state."+string(s), "order."+string(s)+"_hint")
	}
	for _, code := range strings.Fields("unavailable bad_json invalid_field unauthorized forbidden not_found method_not_allowed " +
		"unsupported_media_type body_too_large too_many_requests state stock name_taken weak_password internal network busy other") {
		need = append(need, "error."+code)
	}
	for _, key := range need {
		if zh[key] == "" || en[key] == "" {
			t.Errorf("no words for %s", key)
		}
	}

	if got := zh["dialog.success"]; got != "恭喜你，秒杀成功！查看订单?" {
		t.Errorf("the success dialog says %q", got)
	}
	if zh["dialog.no"] != "否" || zh["dialog.yes"] != "是" {
		t.Errorf("the dialog's buttons say %q and %q", zh["dialog.no"], zh["dialog.yes"])
	}
}

// What was badly said once is not said again.
func TestWordsThatWereReplaced(t *testing.T) {
	t.Parallel()
	words := readWords()
	for lang, phrases := range map[string][]string{
		"zh-CN": {"付款", "已失效", "不要关闭", "网络有点慢", "商品会回到", "限购"},
		"en":    {"It is yours! Your order", "Go and get something", "See the sales", "keep this page open", "connection is slow"},
	} {
		for key, text := range words[lang] {
			for _, phrase := range phrases {
				if strings.Contains(text, phrase) {
					t.Errorf("%s says %q", key, text)
				}
			}
		}
	}
	for key, want := range map[string][2]string{
		"ticket.unpaid":       {"抢到了！请在 {left} 内支付。", "You got it! Pay within {left} to keep it."},
		"dialog.cancel":       {"确定取消这个订单吗？取消后库存将释放给其他买家，不一定能再抢到。", "Cancel this order? Its units go to other buyers, and you may not get one again."},
		"dialog.keep":         {"再想想", "Keep it"},
		"order.cancel":        {"取消订单", "Cancel order"},
		"closed.expired":      {"超时未支付，订单已自动关闭。", "It was not paid in time, so the order was closed."},
		"order_state.expired": {"已关闭", "Closed"},
		"verdict.limit":       {"您已在本场下过单，每人限 1 单。", "You already have an order in this sale. One order per buyer."},
		"order.number":        {"订单编号", "Order no."},
		"sale.limit":          {"每人限 1 单，最多 {limit} 件", "One order per buyer, up to {limit} units"},
		"sale.back":           {"有库存了，可再次抢购。", "Units are back. You can buy again."},
		"buy.sending":         {"提交中…", "Sending…"},
		"buy.queued":          {"排队中…", "In the queue"},
		"list.over":           {"已结束", "Ended"},
		"orders.browse":       {"看看秒杀", "Browse sales"},
		"orders.empty":        {"还没有订单。", "You have no orders yet."},
	} {
		if got := [2]string{words["zh-CN"][key], words["en"][key]}; got != want {
			t.Errorf("%s says %q, want %q", key, got, want)
		}
	}
}

func TestModulesNameOnlyKnownWords(t *testing.T) {
	t.Parallel()
	words := readWords()["en"]
	// A key is a quoted prefix.name; a prefix alone is completed at run time.
	prefixes := map[string]bool{}
	for key := range words {
		prefixes[strings.SplitN(key, ".", 2)[0]] = true
	}
	key := regexp.MustCompile(`'(\w+)\.(\w+)'`)
	for name, f := range readStatic() {
		for _, m := range key.FindAllStringSubmatch(string(f.body), -1) {
			if full := m[1] + "." + m[2]; prefixes[m[1]] && words[full] == "" {
				t.Errorf("%s says %s, for which there are no words", name, full)
			}
		}
	}
}

func TestNothingInlineAndNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	forbidden := map[string]*regexp.Regexp{
		"inline style":      regexp.MustCompile(`(?i)\sstyle\s*=|<style`),
		"inline script":     regexp.MustCompile(`(?i)<script[^>]*>[^<]|\son\w+\s*=\s*"|"javascript:`),
		"markup from text":  regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|setHTML`),
		"code from text":    regexp.MustCompile(`\beval\(|new Function`),
		"another's address": regexp.MustCompile(`(?:src|href)="(?:https?:)?//|@import|url\(|fetch\(['"` + "`" + `]http|from '[^.]`),
	}
	for folder, files := range map[string]fs.FS{"storefront": storefront, "console": console} {
		err := fs.WalkDir(files, folder, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := fs.ReadFile(files, name)
			for what, pattern := range forbidden {
				if m := pattern.Find(text); m != nil {
					t.Errorf("%s: %s: %q", name, what, m)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// The shells are for everybody: nothing of a request may end up in one, but for
// the language and the sale.
func TestShellsHoldNothingOfTheRequest(t *testing.T) {
	t.Parallel()
	h := Handler(aSale)
	if body(t, ask(t, h, "GET", "/sale/1")) != body(t, ask(t, h, "GET", "/sale/1?x=<script>", "Cookie", "seckill_session=secret", "Host", "evil.example")) {
		t.Error("two requests have different shells")
	}
	if b := body(t, ask(t, h, "GET", "/%3Cscript%3Ealert(1)%3C/script%3E")); strings.Contains(b, "alert") {
		t.Error("the 404 page repeats the path")
	}
}

func TestWordsAreStrictJSON(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{} // in all modules
	for _, name := range wordModules {
		_, object, ok := strings.Cut(string(readStatic()[name].body), "export default")
		if !ok || !json.Valid([]byte(object)) {
			t.Errorf("%s is not strict JSON behind its export default", name)
		}
		// encoding/json lets the last of two equal keys win, silently.
		for i, language := range strings.Split(object, `"en": {`) {
			for _, m := range regexp.MustCompile(`(?m)^    "([^"]+)":`).FindAllStringSubmatch(language, -1) {
				if key := languages[i] + " " + m[1]; seen[key] {
					t.Errorf("%s is there twice", key)
				} else {
					seen[key] = true
				}
			}
		}
	}
}

// The words of the check are there when its module is: no other module may say them.
func TestOnlyTheCheckSaysItsWords(t *testing.T) {
	t.Parallel()
	of := wordsIn("challengewords.js")["en"]
	for name, f := range readStatic() {
		for key := range of {
			if strings.Contains(string(f.body), "'"+key+"'") && name != "challenge.js" {
				t.Errorf("%s says %s, which it may not have", name, key)
			}
		}
	}
}
