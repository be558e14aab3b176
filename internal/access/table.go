package access

import (
	"hash/maphash"
	"sync"
)

// The shape of a table.
const (
	ways  = 8   // slots that one name may be in
	locks = 256 // that share the table
)

// table keeps a value for each of very many names in a fixed number of slots. Where a
// name finds no room, the slot of its eight that is worth least makes room.
type table[V any] struct {
	seed  maphash.Seed
	sets  uint64
	worth func(*V) int64
	locks [locks]sync.Mutex
	slots []place[V]
}

type place[V any] struct {
	name  uint64 // a keyed hash: nobody outside can make two names meet
	value V
}

func newTable[V any](remembered int, worth func(*V) int64) *table[V] {
	sets := max(locks, (remembered+ways-1)/ways)
	return &table[V]{seed: maphash.MakeSeed(), sets: uint64(sets), worth: worth, slots: make([]place[V], sets*ways)}
}

// use calls f with the value of the name, which is zero for one that is not known.
func (t *table[V]) use(name string, f func(*V)) {
	h := maphash.String(t.seed, name)
	set := h % t.sets
	slots := t.slots[set*ways : set*ways+ways]
	lock := &t.locks[set%locks]
	lock.Lock()
	defer lock.Unlock()
	s := &slots[0]
	for i := range slots {
		if slots[i].name == h {
			s = &slots[i]
			break
		}
		if t.worth(&slots[i].value) < t.worth(&s.value) {
			s = &slots[i]
		}
	}
	if s.name != h {
		*s = place[V]{name: h}
	}
	f(&s.value)
}
