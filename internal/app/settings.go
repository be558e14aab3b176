package app

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"

	"seckill"
)

// mayDiffer are the settings that nodes of one cluster may have each for itself; a name
// stands for everything below it. All others are in the fingerprint by which the preflight
// compares nodes, new ones included.
var mayDiffer = []string{
	"listen", "admin_listen", "ops_listen", "ops_hosts", "data_dir", "demo", "log", // of a machine
	"run", "rabbitmq.listener", "http.max_in_flight", "http.max_waits", "http.hashes", "http.drain_delay", "http.stop_timeout", "redis.connections", "mysql.connections", // how much a node does
	"gate", "queue", "store", "redis.password_file", "mysql.password_file", // ways to the same engines: /readyz says whether a node reaches them
	"auth.previous_secret", // those that are believed are compared by fingerprints of their own
}

// settings is a fingerprint of what should be the same on all nodes. It is keyed, so that
// nobody can try out secrets on it. A file counts by what is in it, where the node reads it
// anew; the path of a secret's file does not.
func (n *Node) settings() string {
	mac := hmac.New(sha256.New, []byte(n.config.Auth.Secret))
	fmt.Fprintln(mac, n.seals.Prints())
	eachSetting(reflect.ValueOf(n.config), "", func(name string, v reflect.Value) {
		if !differs(name) {
			writeSetting(mac, name, v)
		}
	})
	return hex.EncodeToString(mac.Sum(nil)[:6])
}

// eachSetting calls f for each setting below v by its name, lists as a whole.
func eachSetting(v reflect.Value, name string, f func(name string, v reflect.Value)) {
	if v.Kind() != reflect.Struct || v.NumField() == 0 || v.Type().Field(0).Tag.Get("koanf") == "" {
		f(name, v)
		return
	}
	for i := range v.NumField() {
		field := v.Type().Field(i).Tag.Get("koanf")
		eachSetting(v.Field(i), strings.TrimPrefix(name+"."+field, "."), f)
	}
}

func differs(name string) bool {
	if strings.HasSuffix(name, "secret_file") || name == "rabbitmq.password_file" || name == "payment.key_file" {
		return true // what it holds is compared
	}
	return slices.ContainsFunc(mayDiffer, func(d string) bool { return name == d || strings.HasPrefix(name, d+".") })
}

func writeSetting(w io.Writer, name string, v reflect.Value) {
	switch {
	case v.Type() == reflect.TypeFor[seckill.Secret]():
		fmt.Fprintf(w, "%s=%q\n", name, v.String())
	case v.Type() == reflect.TypeFor[seckill.Endpoint]():
		fmt.Fprintf(w, "%s=%s\n", name, v.String())
	case strings.HasSuffix(name, "_file") && v.String() != "":
		text, err := os.ReadFile(v.String())
		fmt.Fprintf(w, "%s=%x %v\n", name, sha256.Sum256(text), err != nil)
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			eachSetting(v.Index(i), fmt.Sprintf("%s.%d", name, i), func(name string, v reflect.Value) {
				if !differs(name) {
					writeSetting(w, name, v)
				}
			})
		}
	default:
		fmt.Fprintf(w, "%s=%v\n", name, v.Interface())
	}
}
