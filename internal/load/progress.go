package load

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
)

const (
	barEvery  = 200 * time.Millisecond // on a terminal
	lineEvery = 2 * time.Second        // elsewhere
)

// progress shows how far each stage of a run is. The work itself only counts;
// drawing happens beside it.
type progress struct {
	w    io.Writer
	live func() string // what the answers are, in a few words; "" before any
}

// stage shows done growing towards total until the returned function is called.
func (p progress) stage(name string, total int, done *atomic.Int64) (end func()) {
	if p.w == nil || total == 0 {
		return func() {}
	}
	every := lineEvery
	start := time.Now()
	live := func() string {
		s := ""
		if p.live != nil {
			s = p.live()
		}
		if s != "" {
			s += ", "
		}
		return s + short(time.Since(start))
	}
	show := func(n int64) { fmt.Fprintf(p.w, "%-12s %d of %d, %s\n", name, n, total, live()) }
	finish := func() {}
	if terminal(p.w) {
		every = barEvery
		bar := progressbar.NewOptions(total,
			progressbar.OptionSetWriter(p.w),
			progressbar.OptionSetDescription(fmt.Sprintf("%-12s", name)),
			progressbar.OptionSetWidth(10),
			progressbar.OptionSetElapsedTime(false),
			progressbar.OptionShowCount(),
			progressbar.OptionSetPredictTime(false),
		)
		show = func(n int64) {
			bar.Describe(fmt.Sprintf("%-12s %s", name, live()))
			_ = bar.Set64(n)
		}
		finish = func() { fmt.Fprintln(p.w) }
	}

	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				show(done.Load())
			case <-stop:
				show(done.Load())
				finish()
				return
			}
		}
	})
	return func() { close(stop); wg.Wait() }
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
