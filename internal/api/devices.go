package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"seckill"
)

// deviceCookie says that a browser has logged in with a name before.
const (
	deviceCookie = "seckill_device"
	deviceLife   = 180 * 24 * time.Hour
)

// devices makes and checks these cookies. A stolen one lets its thief try
// passwords at a pace of its own, and nothing else.
type devices struct{ keys [][]byte }

func newDevices(secrets [][]byte) devices {
	var d devices
	for _, s := range secrets {
		if len(s) > 0 {
			mac := hmac.New(sha256.New, s)
			mac.Write([]byte("seckill device cookie"))
			d.keys = append(d.keys, mac.Sum(nil))
		}
	}
	return d
}

// sign is the MAC of a device's claim: that it logged in with the name, until when
// that counts, and a number of its own.
func sign(key []byte, name, until, id string) string {
	folded, _ := seckill.FoldName(name)
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s\n%s\n%s", until, id, folded)
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// knows returns the number of the device that sends the request, if it has logged
// in with this name before.
func (d devices) knows(r *http.Request, name string) (id string) {
	c, err := r.Cookie(deviceCookie)
	if err != nil {
		return ""
	}
	parts := strings.Split(c.Value, ".")
	if len(parts) != 3 {
		return ""
	}
	if until, err := strconv.ParseInt(parts[0], 10, 64); err != nil || time.Now().Unix() > until {
		return ""
	}
	for _, key := range d.keys {
		if hmac.Equal([]byte(parts[2]), []byte(sign(key, name, parts[0], parts[1]))) {
			return parts[1]
		}
	}
	return ""
}

// remember gives the browser that has logged in its device cookie.
func (a *API) remember(w http.ResponseWriter, r *http.Request, name string) {
	if len(a.limits.devices.keys) == 0 {
		return
	}
	until, id := strconv.FormatInt(time.Now().Add(deviceLife).Unix(), 10), strconv.FormatUint(rand.Uint64(), 36)
	http.SetCookie(w, &http.Cookie{Name: deviceCookie, Value: until + "." + id + "." + sign(a.limits.devices.keys[0], name, until, id), Path: "/api/login",
		MaxAge: int(deviceLife / time.Second), HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: a.secure(r)})
}
