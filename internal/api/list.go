package api

import (
	"strconv"

	"seckill"
)

// page reads limit and cursor of a list.
func (r *request) page() (limit int, cursor string, err error) {
	q := r.URL.Query()
	limit = 20
	if q.Has("limit") {
		if limit, err = strconv.Atoi(q.Get("limit")); err != nil || limit < 1 || limit > 100 {
			return 0, "", &seckill.FieldError{Field: "limit", Must: "must be 1 to 100"}
		}
	}
	return limit, q.Get("cursor"), nil
}

// list is the form of every list.
type list[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}

// newList cuts the item that was read beyond the limit: it says that there is a
// next page, after the last one shown.
func newList[T any](items []T, limit int, cursor func(T) string) list[T] {
	l := list[T]{Items: items}
	if len(items) > limit {
		l.Items = items[:limit]
		l.Next = cursor(l.Items[limit-1])
	}
	if l.Items == nil {
		l.Items = []T{}
	}
	return l
}
