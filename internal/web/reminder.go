package web

import (
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"seckill"
)

// serveReminder answers with a sale's opening as a calendar file (RFC 5545) that
// rings five minutes before. Who opens it again after the opening was moved has one
// entry all the same, since the entry has one name.
func (s *site) serveReminder(w http.ResponseWriter, r *http.Request) {
	id, err := seckill.ParseSaleID(r.PathValue("sale"))
	if err != nil || s.sale == nil {
		s.missing(w, r)
		return
	}
	sale, err := s.sale(r.Context(), id)
	if err != nil {
		s.missing(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/calendar; charset=utf-8")
	h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="seckill-%s.ics"`, sale.ID))
	h.Set("Cache-Control", "no-cache")
	fmt.Fprint(w, calendar(sale, readWords()[language(r)], time.Now()))
}

func calendar(sale seckill.Sale, words map[string]string, now time.Time) string {
	stamp := func(t time.Time) string { return t.UTC().Format("20060102T150405Z") }
	title := words["brand"] + ": " + sale.Title
	var b strings.Builder
	for _, line := range []string{
		"BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//seckill//storefront//EN", "METHOD:PUBLISH",
		"BEGIN:VEVENT", "UID:sale-" + sale.ID.String() + "@seckill", "DTSTAMP:" + stamp(now),
		"DTSTART:" + stamp(sale.OpensAt), "DTEND:" + stamp(sale.ClosesAt), "SUMMARY:" + escaped(title),
		"DESCRIPTION:" + escaped(words["sale.price"]+" "+seckill.FormatMoney(sale.Price, sale.Currency)),
		"BEGIN:VALARM", "ACTION:DISPLAY", "TRIGGER:-PT5M", "DESCRIPTION:" + escaped(title), "END:VALARM",
		"END:VEVENT", "END:VCALENDAR",
	} {
		fold(&b, line)
	}
	return b.String()
}

// escaped writes a text as a value of the calendar.
func escaped(text string) string {
	return strings.NewReplacer(`\`, `\\`, ";", `\;`, ",", `\,`, "\n", `\n`, "\r", "").Replace(text)
}

// fold writes a line, broken after at most 75 bytes and never within a character.
func fold(b *strings.Builder, line string) {
	room := 75
	for len(line) > room {
		n := room
		for n > 0 && !utf8.RuneStart(line[n]) {
			n--
		}
		b.WriteString(line[:n] + "\r\n ")
		line, room = line[n:], 74
	}
	b.WriteString(line + "\r\n")
}
