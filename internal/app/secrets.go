package app

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"seckill"
	"seckill/internal/account"
)

// Secrets returns the signing secrets, the current one first, then the previous one if there
// is one. On embedded parts
// a missing one is made in the data directory; made is then its file.
func (c *Config) Secrets(make bool) (secrets [][]byte, made string, err error) {
	current, err := secretOf(c.Auth.Secret, c.Auth.SecretFile, "auth.secret_file")
	if err != nil {
		return nil, "", fmt.Errorf("auth.secret_file (%s): %w", EnvName("auth.secret_file"), err)
	}
	if len(current) == 0 && !c.Embedded() {
		return nil, "", fmt.Errorf("auth.secret (%s) is not set: all nodes must share one, so none is made here. One is made by: %s", EnvName("auth.secret"), makeSecret)
	}
	if len(current) == 0 {
		name := filepath.Join(c.DataDir, "auth.secret")
		if current, err = os.ReadFile(name); errors.Is(err, os.ErrNotExist) && make {
			current, made = []byte(rand.Text()+rand.Text()), name
			if err = os.MkdirAll(c.DataDir, 0o700); err == nil {
				err = writeWhole(name, append(current, '\n'))
			}
			if errors.Is(err, os.ErrExist) { // another process was first
				current, err = os.ReadFile(name)
				made = ""
			}
		}
		if err != nil {
			return nil, "", fmt.Errorf("no secret to sign tokens with: set auth.secret (%s) or run on the machine of the server with its --data-dir: %w", EnvName("auth.secret"), err)
		}
		current = bytes.TrimSpace(current)
	}
	previous, err := secretOf(c.Auth.PreviousSecret, c.Auth.PreviousSecretFile, "auth.previous_secret_file")
	if err != nil {
		return nil, "", fmt.Errorf("auth.previous_secret_file (%s): %w", EnvName("auth.previous_secret_file"), err)
	}
	if len(current) < account.MinSecret {
		return nil, "", fmt.Errorf("auth.secret (%s) must have at least %d bytes, better %d random ones. One is made by: %s", EnvName("auth.secret"), account.MinSecret, account.GoodSecret, makeSecret)
	}
	if n := len(previous); n > 0 && n < account.MinSecret {
		return nil, "", fmt.Errorf("auth.previous_secret (%s) must have at least %d bytes: no node has signed with a shorter one", EnvName("auth.previous_secret"), account.MinSecret)
	}
	if len(previous) == 0 {
		return [][]byte{current}, made, nil
	}
	return [][]byte{current, previous}, made, nil
}

// The commands that make good secrets.
const (
	makeSecret     = "head -c 32 /dev/urandom | base64"
	makeHookSecret = "echo whsec_$(openssl rand -base64 32)"
)

// weakSecrets looks at the secrets that tokens, payments and webhooks are signed with. Whoever
// guesses one is every buyer and every administrator, pays orders, or is this shop for the
// receiver. Beyond embedded parts a weak one is refused. One of before is not, or nobody could
// get away from it.
func (c *Config) weakSecrets(tokens [][]byte) (weak []string, err error) {
	type kind struct{ good, leave, gone string }
	look := func(name, why string, former bool, k kind) {
		switch said := name + " " + why; {
		case why == "":
		case former:
			weak = append(weak, said+": take it away as soon as "+k.gone)
		case c.Embedded():
			weak = append(weak, said+". A good one is made by: "+k.good)
		case err == nil:
			err = errors.New(said + ". A good one is made by: " + k.good + "; put the weak one into " + k.leave)
		}
	}
	signs := kind{makeSecret, "auth.previous_secret until the tokens of today have ended; while other nodes run, or tickets wait for their outcome, first read docs/scaling.md#changing-authsecret", "the tokens that are signed with it have ended"}
	for i, secret := range tokens {
		key := []string{"auth.secret", "auth.previous_secret"}[i]
		look(fmt.Sprintf("%s (%s)", key, EnvName(key)), account.WeakSecret(secret), i > 0, signs)
	}
	pays := kind{makeHookSecret, "payment.previous_secret until the provider signs with the new one", "the provider does not sign with it any more"}
	p := &c.Payment
	if p.Provider == seckill.ProviderShop || p.Provider == seckill.ProviderStripe {
		look(fmt.Sprintf("payment.secret (%s)", EnvName("payment.secret")), easyHookSecret(p.Secret, p.SecretFile), false, pays)
	}
	look(fmt.Sprintf("payment.previous_secret (%s)", EnvName("payment.previous_secret")), easyHookSecret(p.PreviousSecret, p.PreviousSecretFile), true, pays)
	tells := kind{makeHookSecret, "previous_secret until the receiver knows the new one", "the receiver knows the new one"}
	for _, w := range c.Webhooks {
		look(fmt.Sprintf("webhooks (%s): the secret of %q", EnvName("webhooks"), w.Name), easyHookSecret(w.Secret, w.SecretFile), false, tells)
		look(fmt.Sprintf("webhooks (%s): the previous_secret of %q", EnvName("webhooks"), w.Name), easyHookSecret(w.PreviousSecret, w.PreviousSecretFile), true, tells)
	}
	return weak, err
}

// easyHookSecret says what makes a secret of Standard Webhooks, or of Stripe, easy to guess. One
// that is missing, or cannot be read, is reported where it is used.
func easyHookSecret(s seckill.Secret, name string) string {
	secret, err := secretOf(s, name, "")
	if err != nil || len(secret) == 0 {
		return ""
	}
	text := bytes.TrimPrefix(secret, []byte("whsec_"))
	if key, err := base64.StdEncoding.DecodeString(string(text)); err == nil {
		return cmp.Or(account.EasySecret(key), account.EasySecret(text))
	}
	return account.EasySecret(text)
}

// writeWhole writes a new private file that is there whole or not at all, whenever
// the process dies. One that exists is os.ErrExist.
func writeWhole(name string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Link(f.Name(), name)
}

// secretOf is a secret as it is given, or as it stands in a file.
func secretOf(s seckill.Secret, name, key string) ([]byte, error) {
	if s != "" || name == "" {
		return []byte(s), nil
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b), nil
}

// keepPrivate makes the files of the embedded parts readable for nobody else,
// also where an earlier version or a folder of another mode has left them open.
// SQLite gives the mode of a database to the files that it puts beside it.
func (c *Config) keepPrivate() error {
	var files []string
	if file, sqlite := strings.CutPrefix(c.storeURL(), "sqlite:"); sqlite {
		files = append(files, file, file+".lease")
	}
	if c.Gate.embedded() {
		files = append(files, filepath.Join(c.DataDir, "gate.db"))
	}
	for _, name := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return err
		}
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return fmt.Errorf("a file of the embedded parts cannot be written: %w (check --data-dir, and who owns it)", err)
		}
		if err := errors.Join(f.Chmod(0o600), f.Close()); err != nil {
			return err
		}
		for _, beside := range []string{"-wal", "-shm", "-journal"} {
			if err := os.Chmod(name+beside, 0o600); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}
