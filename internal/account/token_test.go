package account

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"seckill"
)

func TestATokenCarriesItsBuyer(t *testing.T) {
	t.Parallel()
	v, err := NewVerifier(Checks{}, theSecret)
	require.NoError(t, err)
	for _, buyer := range []string{"a", "买家 7", strings.Repeat("字", 64), `"<\`} {
		for _, role := range []string{"", seckill.RoleAdmin, "other"} {
			token, err := Mint(theSecret, buyer, role, time.Hour)
			require.NoError(t, err)
			for range 2 { // the second time it is remembered
				who, err := v.Verify(token, true)
				require.NoError(t, err)
				require.Equal(t, buyer, who.Buyer)
				require.Equal(t, role == "admin", seckill.HasRole(who.Role, seckill.RoleAdmin))
			}
		}
	}
}

func TestWhatCannotBeMinted(t *testing.T) {
	t.Parallel()
	for _, buyer := range []string{"", "a\nb", strings.Repeat("a", 65), "\xff"} {
		_, err := Mint(theSecret, buyer, "", time.Hour)
		var field *seckill.FieldError
		require.ErrorAs(t, err, &field, "%q", buyer)
	}
	_, err := Mint([]byte("too short"), "a", "", time.Hour)
	require.ErrorContains(t, err, "16 bytes")
}

func TestWhichSecretsAVerifierTakes(t *testing.T) {
	t.Parallel()
	for _, secrets := range [][][]byte{nil, {nil}, {{}, {}}, {[]byte("too short")}, {theSecret, []byte("too short")}} {
		_, err := NewVerifier(Checks{}, secrets...)
		require.Error(t, err, "%q", secrets)
	}
	byCurrent, err := Mint(theSecret, "a", "", time.Hour)
	require.NoError(t, err)
	byPrevious, err := Mint(otherSecret, "a", "", time.Hour)
	require.NoError(t, err)

	rotating, err := NewVerifier(Checks{}, theSecret, otherSecret)
	require.NoError(t, err)
	settled, err := NewVerifier(Checks{}, theSecret, nil)
	require.NoError(t, err)
	for _, v := range []*Verifier{rotating, settled} {
		_, err = v.Verify(byCurrent, true)
		require.NoError(t, err)
	}
	_, err = rotating.Verify(byPrevious, true)
	require.NoError(t, err, "while rotating the one before is good too")
	_, err = settled.Verify(byPrevious, true)
	require.Equal(t, ErrToken, err, "afterwards it is not")
}

func TestATokenThatIsRememberedEndsOnTimeAllTheSame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v, err := NewVerifier(Checks{}, theSecret)
		require.NoError(t, err)
		token, err := Mint(theSecret, "a", "", time.Minute)
		require.NoError(t, err)
		_, err = v.Verify(token, true)
		require.NoError(t, err)
		<-time.After(time.Minute - time.Millisecond)
		_, err = v.Verify(token, true)
		require.NoError(t, err)
		<-time.After(time.Millisecond)
		_, err = v.Verify(token, true)
		require.Equal(t, ErrToken, err)
	})
}

func TestAVerifierDoesNotRememberWithoutEnd(t *testing.T) {
	t.Parallel()
	v, err := NewVerifier(Checks{}, theSecret)
	require.NoError(t, err)
	token, err := Mint(theSecret, "a", "", time.Hour)
	require.NoError(t, err)
	most := verifierSize / len(v.shards)
	for i := range v.shards {
		for n := range most {
			v.shards[i].known[fmt.Sprint("some token or other ", n)] = Who{}
		}
	}
	_, err = v.Verify(token, true)
	require.NoError(t, err)
	for i := range v.shards {
		require.LessOrEqual(t, len(v.shards[i].known), most)
	}
	_, err = v.Verify("not a token but long enough", true)
	require.Equal(t, ErrToken, err)
	for i := range v.shards {
		require.NotContains(t, v.shards[i].known, "not a token but long enough", "what is refused is not remembered")
	}
}

// A stolen token, or one that a shop made in a careless hour, does not live for ever.
func TestATokenOfAHundredYearsIsNotAccepted(t *testing.T) {
	t.Parallel()
	for _, remember := range []bool{true, false} {
		v, err := NewVerifier(Checks{}, theSecret)
		require.NoError(t, err)
		for life, ok := range map[time.Duration]bool{24 * time.Hour: true, MaxLife: true, MaxLife + time.Minute: false, 100 * 365 * 24 * time.Hour: false} {
			token, err := Mint(theSecret, "a", "", life)
			require.NoError(t, err)
			_, err = v.Verify(token, remember)
			require.Equal(t, ok, err == nil, "%s: %v", life, err)
		}
		v, err = NewVerifier(Checks{MaxLife: time.Hour}, theSecret)
		require.NoError(t, err)
		token, err := Mint(theSecret, "a", "", 2*time.Hour)
		require.NoError(t, err)
		_, err = v.Verify(token, remember)
		require.Equal(t, ErrToken, err)
	}
}

// The clock of a shop that issues tokens may be a little ahead of ours.
func TestATokenMayBeginAMinuteAhead(t *testing.T) {
	t.Parallel()
	v, err := NewVerifier(Checks{}, theSecret)
	require.NoError(t, err)
	now := time.Now().Unix()
	for ahead, ok := range map[int64]bool{-5: true, 0: true, 1: true, 50: true, 90: false} {
		token := strings.TrimSuffix(commonHeader, ".") + "." + encoding.EncodeToString(fmt.Appendf(nil, `{"sub":"a","exp":%d,"nbf":%d,"iat":%d}`, now+3600, now+ahead, now+ahead))
		token += "." + sign(theSecret, token)
		_, err := v.Verify(token, false)
		require.Equal(t, ok, err == nil, "%d s ahead: %v", ahead, err)
	}
	ended := strings.TrimSuffix(commonHeader, ".") + "." + encoding.EncodeToString(fmt.Appendf(nil, `{"sub":"a","exp":%d}`, now-1))
	_, err = v.Verify(ended+"."+sign(theSecret, ended), false)
	require.Equal(t, ErrToken, err, "its end is held to the second")
}

func TestASecretThatIsEasyToGuessIsNamed(t *testing.T) {
	t.Parallel()
	for secret, weak := range map[string]string{
		strings.Repeat("a", 16):                "16 bytes",
		"a-secret-of-some-length":              "23 bytes",
		strings.Repeat("a", 64):                "1 different",
		strings.Repeat("0123456789", 4):        "repeats",
		strings.Repeat("correct horse! ", 3):   "repeats",
		"0123456701234567012345670123456701":   "repeats",
		"CHANGE-ME-CHANGE-ME-CHANGE-ME-CHANGE": "repeats",
		"aabbaabbaaabbbbababababbabababababab": "2 different",
	} {
		require.Contains(t, WeakSecret([]byte(secret)), weak, secret)
	}
	for range 1000 {
		b := make([]byte, 32)
		rand.Read(b)
		for _, good := range []string{string(b), fmt.Sprintf("%x", b), base64.StdEncoding.EncodeToString(b), rand.Text() + rand.Text(), "end-to-end-" + rand.Text()} {
			require.Empty(t, WeakSecret([]byte(good)), good)
		}
	}
}

var encoding = base64.RawURLEncoding

func sign(secret []byte, head string) string {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte(head))
	return encoding.EncodeToString(m.Sum(nil))
}

// Whatever the header and the claims are: a token is good only with a signature
// by our secret, by HS256, for a possible buyer, and before its end. And one that
// is all this and has nothing strange about it is good.
func FuzzVerify(f *testing.F) {
	hour := time.Now().Add(time.Hour).Unix()
	for _, header := range []string{
		`{"alg":"HS256","typ":"JWT"}`, `{"alg":"none"}`, `{"alg":"HS512"}`, `{"alg":"hs256"}`, `{}`, `null`, `{"alg":["HS256"]}`, `{"alg":"HS256","crit":["x"],"b64":false}`,
	} {
		for _, payload := range []string{
			fmt.Sprintf(`{"sub":"a","exp":%d}`, hour), fmt.Sprintf(`{"sub":"a","exp":%d,"role":"admin"}`, hour), `{"sub":"a","exp":1}`, `{"sub":"a"}`,
			fmt.Sprintf(`{"exp":%d}`, hour), fmt.Sprintf(`{"sub":"","exp":%d}`, hour), fmt.Sprintf(`{"sub":"a\nb","exp":%d}`, hour), fmt.Sprintf(`{"sub":5,"exp":%d}`, hour),
			`{"sub":"a","exp":1e300}`, `{"sub":"a","exp":-1e300}`, `{"sub":"a","exp":"9999999999"}`, `{"sub":"a","exp":null}`, fmt.Sprintf(`{"sub":"a","exp":%d,"nbf":%d}`, hour, hour), `[]`, `null`, `{`,
			fmt.Sprintf(`{"sub":"a","exp":%d,"sub":"b"}`, hour), fmt.Sprintf(`{"SUB":"a","exp":%d}`, hour), fmt.Sprintf(`{"sub":"a","exp":%d,"role":["admin"]}`, hour),
		} {
			f.Add(header, payload, uint8(0), "")
		}
	}
	f.Add(`{"alg":"HS256"}`, fmt.Sprintf(`{"sub":"a","exp":%d}`, hour), uint8(1), "")
	f.Add(`{"alg":"HS256"}`, fmt.Sprintf(`{"sub":"a","exp":%d}`, hour), uint8(2), "")
	f.Add(`{"alg":"HS256"}`, fmt.Sprintf(`{"sub":"a","exp":%d}`, hour), uint8(0), ".x")
	f.Fuzz(func(t *testing.T, header, payload string, by uint8, tail string) {
		v, err := NewVerifier(Checks{}, theSecret)
		require.NoError(t, err)
		head := encoding.EncodeToString([]byte(header)) + "." + encoding.EncodeToString([]byte(payload))
		token := head + "."
		switch by % 3 {
		case 0:
			token += sign(theSecret, head)
		case 1:
			token += sign(otherSecret, head)
		}
		token += tail
		before := time.Now()
		who, err := v.Verify(token, true)
		if err != nil {
			require.Equal(t, ErrToken, err, "the client is not told why")
			require.Zero(t, who)
			plain := len(token) <= 4096 && by%3 == 0 && tail == "" && header == `{"alg":"HS256","typ":"JWT"}`
			require.False(t, plain && ordinary(payload, before), "an ordinary token is refused: %s", payload)
			return
		}
		parts := strings.Split(token, ".")
		require.Len(t, parts, 3)
		given, err := encoding.DecodeString(parts[2])
		require.NoError(t, err)
		want, _ := encoding.DecodeString(sign(theSecret, parts[0]+"."+parts[1]))
		require.True(t, hmac.Equal(want, given), "signed with our secret")
		var h struct{ Alg string }
		require.NoError(t, json.Unmarshal([]byte(header), &h))
		require.Equal(t, "HS256", h.Alg)
		require.True(t, seckill.ValidBuyer(who.Buyer), "%q", who.Buyer)
		require.True(t, who.until.After(before), "it has not ended: %s", who.until)
		var c struct{ Exp json.Number }
		require.NoError(t, json.Unmarshal([]byte(payload), &c))
		end, err := c.Exp.Float64()
		require.NoError(t, err)
		require.Greater(t, end+1, float64(before.Unix()))
		again, err := v.Verify(token, true)
		require.NoError(t, err)
		require.Equal(t, who, again)
	})
}

// Claims that are read the short way are read as encoding/json reads them; and a
// token is good, for the same bearer, when the library alone says so.
func FuzzClaims(f *testing.F) {
	for _, payload := range []string{
		`{"sub":"a","exp":9999999999,"iat":1}`, `{"sub":"a","role":"admin","exp":9999999999}`, `{"exp":9999999999,"sub":"a"}`, `{"sub":"","sub":"a","exp":9999999999}`,
		`{"sub":"a","sub":"","exp":9999999999}`, `{"sub":"a","exp":0}`, `{"sub":"a","exp":09999999999}`, `{"sub":"a","exp":-9999999999}`, `{"sub":"a","exp":9999999999.0}`,
		`{"sub":"a","exp":9999999999e0}`, `{"sub":"a","exp":999999999999}`, `{"sub":"a","exp":1099511627776}`, `{"sub":"a","exp":1099511627777}`, `{"sub":"a","exp":}`, `{"sub":"a","exp":9999999999,}`,
		`{"sub":"a","exp":9999999999}}`, `{"sub":"a" ,"exp":9999999999}`, `{"sub":"a\u0062","exp":9999999999}`, `{"sub":"é","exp":9999999999}`, "{\"sub\":\"a\tb\",\"exp\":9999999999}",
		`{"sub":"a,\"exp\":9999999999}`, `{"sub":"a","exp":9999999999,"nbf":9999999998}`, `{"Sub":"a","exp":9999999999}`, `{"sub":"a","SUB":"b","exp":9999999999}`, `{"sub":"a""exp":9999999999}`,
		`{"sub":a,"exp":9999999999}`, `{"sub":"a","exp":"9999999999"}`, `{"sub":null,"exp":9999999999}`, `{}`, `{`, `}`, `{"}`, `{"sub"}`, `{"sub":}`, "{\"sub\":\"\x7f\",\"exp\":9999999999}", `[]`, ``, `{"exp":1,"exp":9999999999,"sub":"a"}`,
	} {
		f.Add([]byte(payload))
	}
	v, err := NewVerifier(Checks{MaxLife: math.MaxInt64}, otherSecret, theSecret) // the seeds live for centuries
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, payload []byte) {
		short, ok := plainClaims(payload)
		if ok {
			var long claims
			require.NoError(t, json.Unmarshal(payload, &long), "%q", payload)
			require.Equal(t, long, short, "%q", payload)
		}
		token := strings.TrimSuffix(commonHeader, ".") + "." + encoding.EncodeToString(payload)
		token += "." + sign(theSecret, token)
		if len(token) > 4096 {
			return
		}
		var c claims
		_, err := v.parser.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return theSecret, nil })
		who, ours := v.Verify(token, false)
		require.Equal(t, err == nil && seckill.ValidBuyer(c.Sub), ours == nil, "%q: %v", payload, err)
		if ours == nil {
			require.Equal(t, Who{Buyer: c.Sub, Role: c.Role, Factor: c.MFA, until: time.UnixMilli(int64(c.Exp * 1000)), made: int64(c.Iat), generation: int64(c.Gen), Name: who.Name, Since: who.Since}, who)
		}
	})
}

func TestWhatMintWritesIsReadTheShortWay(t *testing.T) {
	t.Parallel()
	for _, role := range []string{"", seckill.RoleAdmin} {
		token, err := Mint(theSecret, "buyer-7 (a shop's)", role, time.Hour)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(token, commonHeader))
		payload, err := encoding.DecodeString(strings.Split(token, ".")[1])
		require.NoError(t, err)
		_, ok := plainClaims(payload)
		require.True(t, ok, "%s", payload)
	}
}

// What checks one token is used for the next: nothing of it may stay.
func TestTokensThatAreCheckedAtOnceDoNotMix(t *testing.T) {
	t.Parallel()
	v, err := NewVerifier(Checks{}, theSecret, otherSecret)
	require.NoError(t, err)
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 200 {
				buyer, role, secret := fmt.Sprint(strings.Repeat("b", i%40), g), []string{"", "admin", "x"}[i%3], [][]byte{theSecret, otherSecret}[i%2]
				token, err := Mint(secret, buyer, role, time.Hour)
				if !assert.NoError(t, err) {
					return
				}
				who, err := v.Verify(token, false)
				assert.NoError(t, err)
				assert.Equal(t, buyer, who.Buyer)
				assert.Equal(t, role, who.Role)
				_, err = v.Verify(token[:len(token)-4]+"AAAA", false)
				assert.Equal(t, ErrToken, err)
				head, _, _ := strings.Cut(strings.TrimPrefix(token, commonHeader), ".")
				_, err = v.Verify(commonHeader+head+".", false)
				assert.Equal(t, ErrToken, err)
			}
		})
	}
	all.Wait()
}

// ordinary claims are a buyer and an end in the future, and perhaps a role.
func ordinary(payload string, now time.Time) bool {
	var c map[string]any
	if json.Unmarshal([]byte(payload), &c) != nil || strings.Count(payload, `"sub"`) > 1 || strings.Count(payload, `"exp"`) > 1 || strings.Count(payload, `"role"`) > 1 {
		return false
	}
	for k, v := range c {
		switch v := v.(type) {
		case string:
			if k != "sub" && k != "role" {
				return false
			}
		case float64:
			if k != "exp" || v != math.Trunc(v) || v < float64(now.Unix()+60) || v > 1e11 {
				return false
			}
		default:
			return false
		}
	}
	sub, _ := c["sub"].(string)
	_, ends := c["exp"]
	return ends && seckill.ValidBuyer(sub)
}

// What can be minted is good at once, and says what was minted.
func FuzzMint(f *testing.F) {
	f.Add("a", "", int64(time.Hour))
	f.Add("买家", "admin", int64(time.Minute))
	f.Add("", "x", int64(0))
	f.Add("a\x00", "\xff", int64(-1))
	f.Add(strings.Repeat("字", 64), strings.Repeat("r", 5000), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, buyer, role string, life int64) {
		v, err := NewVerifier(Checks{}, theSecret)
		require.NoError(t, err)
		token, err := Mint(theSecret, buyer, role, time.Duration(life))
		require.Equal(t, seckill.ValidBuyer(buyer), err == nil)
		if err != nil {
			return
		}
		who, err := v.Verify(token, true)
		if life < int64(2*time.Second) || len(token) > 4096 {
			return
		}
		require.NoError(t, err)
		require.Equal(t, buyer, who.Buyer)
		require.Equal(t, strings.ToValidUTF8(role, "\ufffd") == role, who.Role == role, "%q, %q", role, who.Role)
		require.Equal(t, role == seckill.RoleAdmin, seckill.HasRole(who.Role, seckill.RoleAdmin))
	})
}
