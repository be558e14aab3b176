package app

import (
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"time"
)

// Reference describes every setting as a Markdown table: its key in the file, its
// environment variable, its default and what it does.
func Reference() string {
	var b strings.Builder
	b.WriteString("| key | environment | default | what it is |\n|---|---|---|---|\n")
	var walk func(prefix string, v reflect.Value)
	walk = func(prefix string, v reflect.Value) {
		for i := range v.NumField() {
			field := v.Type().Field(i)
			key := prefix + field.Tag.Get("koanf")
			if field.Type.Kind() == reflect.Struct {
				walk(key+".", v.Field(i))
				continue
			}
			fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s |\n", key, EnvName(key), shown(v.Field(i).Interface()), field.Tag.Get("help"))
		}
	}
	walk("", reflect.ValueOf(Defaults()))
	return b.String()
}

func shown(v any) string {
	text := fmt.Sprint(v)
	switch v := v.(type) {
	case []string:
		text = strings.Join(v, ",")
	case []Webhook:
		text = ""
	case slog.Level:
		text = strings.ToLower(v.String())
	case time.Duration:
		text = v.String()
		if strings.HasSuffix(text, "m0s") {
			text = strings.TrimSuffix(text, "0s")
		}
		if strings.HasSuffix(text, "h0m") {
			text = strings.TrimSuffix(text, "0m")
		}
	}
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}
