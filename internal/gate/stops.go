package gate

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"seckill"
)

// stops are emergency stops of the embedded gate, in a file of their own: they must
// outlive the process, and are made once in a year.
type stops struct {
	file  string
	seals *seckill.Seals // nil: none are asked for
	mu    sync.Mutex
	all   []seckill.Stop
}

// openStops reads the stops of an earlier process. A file that cannot be read, or of which
// the gate has not made everything, is put aside, and what is good of it is kept: no node
// would start for it, and the store may know all that it said.
func openStops(file string, seals *seckill.Seals) (*stops, error) {
	s := &stops{file: file, seals: seals}
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	var notes []json.RawMessage
	bad := json.Unmarshal(b, &notes)
	for _, note := range notes {
		stop, err := seals.ReadNote(note)
		if err != nil {
			bad = errors.Join(bad, err)
			continue
		}
		s.all = append(s.all, stop)
	}
	if bad == nil {
		return s, nil
	}
	err = os.Rename(file, file+".aside")
	if err == nil {
		err = s.change(func(all []seckill.Stop) []seckill.Stop { return all })
	}
	return s, errors.Join(errStops, bad, err)
}

// errStops says that the file of stops could not be read, and is put aside.
var errStops = errors.New("not all that it holds are emergency stops of this gate")

// change changes the stops, on the disk first.
func (s *stops) change(f func([]seckill.Stop) []seckill.Stop) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := f(slices.Clone(s.all))
	notes := make([]json.RawMessage, len(all))
	for i, stop := range all {
		var err error
		if notes[i], err = s.seals.Note(stop); err != nil {
			return err
		}
	}
	b, err := json.Marshal(notes)
	if err != nil {
		return err
	}
	w, err := os.CreateTemp(filepath.Dir(s.file), filepath.Base(s.file)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(w.Name())
	_, err = w.Write(b)
	if err = errors.Join(err, w.Sync(), w.Close()); err != nil {
		return err
	}
	if err := os.Rename(w.Name(), s.file); err != nil {
		return err
	}
	s.all = all
	return nil
}

// keep has the stops that the store does not know of in force in a version of a sale.
func (s *stops) keep(sale *seckill.Sale) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, stop := range s.all {
		if stop.Sale == sale.ID {
			sale.Paused, sale.Ended = sale.Paused || !stop.End, sale.Ended || stop.End
		}
	}
}

// Stop stops a sale while the store is away. It is in force, and on the disk, when
// this returns, and neither a change nor a rebuild opens the sale again until the store
// has learned of it.
func (m *Memory) Stop(_ context.Context, stop seckill.Stop) error {
	s, err := m.locked(stop.Sale)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	if err := m.stops.change(func(all []seckill.Stop) []seckill.Stop { return append(all, stop) }); err != nil {
		return err
	}
	m.stops.keep(&s.sale)
	m.flags.Clear(stop.Sale)
	return nil
}

// Stops returns the stops that the store has not learned of: those of some sales, or all.
func (m *Memory) Stops(_ context.Context, of ...seckill.SaleID) ([]seckill.Stop, error) {
	m.stops.mu.Lock()
	defer m.stops.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(m.stops.all), func(s seckill.Stop) bool {
		return len(of) > 0 && !slices.Contains(of, s.Sale)
	}), nil
}

// Noted reports whether the store still has to learn of a stop.
func (m *Memory) Noted(_ context.Context, stop seckill.Stop) (bool, error) {
	m.stops.mu.Lock()
	defer m.stops.mu.Unlock()
	return slices.Contains(m.stops.all, stop), nil
}

// Learned forgets a stop that the store has learned of.
func (m *Memory) Learned(_ context.Context, stop seckill.Stop) error {
	return m.stops.change(func(all []seckill.Stop) []seckill.Stop {
		return slices.DeleteFunc(all, func(s seckill.Stop) bool { return s == stop })
	})
}
