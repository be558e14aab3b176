package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// A payment provider tells of everybody's payments from one address, in messages of its own
// size: nginx lets them through, and nobody else's.
func TestNginxLetsCallbacksPass(t *testing.T) {
	t.Parallel()
	shipped, err := os.ReadFile("../deploy/nginx/seckill.conf")
	must(t, err)
	burst, err := strconv.Atoi(string(regexp.MustCompile(`burst=(\d+)`).FindSubmatch(shipped)[1]))
	must(t, err)
	f := startFakes(t, 1, func(w http.ResponseWriter, r *http.Request, _ int64) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	})
	n := stacktest.OwnNginx(t, stack.Site{Nodes: f.addresses})
	post := func(path string, size int) (int, string) {
		t.Helper()
		res, err := http.Post(n.URL()+path, "application/json", bytes.NewReader(make([]byte, size)))
		must(t, err)
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		must(t, err)
		return res.StatusCode, string(b)
	}
	if status, body := post("/api/payments/stripe", 256<<10); status != 200 || body != fmt.Sprint(256<<10) {
		t.Errorf("a large callback: %d %s", status, body)
	}
	for path, most := range map[string]int{"/api/payments/stripe": 256 << 10, "/api/orders/A/pay": 8 << 10} {
		if status, body := post(path, most+1); status != 413 || !strings.Contains(body, fmt.Sprintf(`"at most %d bytes"`, most)) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range burst / 10 { // twice as many as an address has at once
				res, err := http.Post(n.URL()+"/api/payments/shop", "application/json", strings.NewReader("{}"))
				if err != nil {
					t.Error(err)
					return
				}
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
				if res.StatusCode != http.StatusOK {
					t.Errorf("a callback: %s", res.Status)
					return
				}
			}
		})
	}
	wg.Wait()
}
