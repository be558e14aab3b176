package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"slices"

	"seckill"
	"seckill/internal/event"
	"seckill/internal/payment"
)

// Webhook is an address of the shop to which the node sends events of orders, of these types or,
// without any, of all, each signed with the secret.
type Webhook struct {
	Name       string           `koanf:"name"`
	URL        seckill.Endpoint `koanf:"url"`
	Secret     seckill.Secret   `koanf:"secret"`
	SecretFile string           `koanf:"secret_file"`

	PreviousSecret     seckill.Secret `koanf:"previous_secret"` // signs too, while the secret is changed
	PreviousSecretFile string         `koanf:"previous_secret_file"`

	Types []string `koanf:"types"`
}

const webhooksMost = 32

var webhookName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// webhooksHook lets the list be one text in JSON, as the environment has it.
func webhooksHook(from, to reflect.Type, v any) (any, error) {
	text, ok := v.(string)
	if !ok || to != reflect.TypeFor[[]Webhook]() {
		return v, nil
	}
	list := []map[string]any{}
	if err := json.Unmarshal([]byte(text), &list); text != "" && err != nil {
		// What is wrong is not quoted: it may be a secret.
		return nil, errors.New(`must be a list such as [{"name":"erp","url":"https://shop.example/hooks","secret_file":"/etc/seckill/erp.secret"}]`)
	}
	return list, nil
}

// checkWebhooks says what is wrong with the receivers.
func (c *Config) checkWebhooks() error {
	if len(c.Webhooks) > webhooksMost {
		return fmt.Errorf("must be at most %d", webhooksMost)
	}
	names := map[string]bool{}
	for _, w := range c.Webhooks {
		u, err := url.Parse(string(w.URL))
		switch {
		case !webhookName.MatchString(w.Name):
			return fmt.Errorf("%q is no name: want 1 to 32 of a to z, 0 to 9 and -", w.Name)
		case names[w.Name]:
			return fmt.Errorf("two are named %q", w.Name)
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
			return fmt.Errorf("url of %q must be an http:// or https:// address", w.Name)
		case w.Secret == "" && w.SecretFile == "":
			return fmt.Errorf("%q needs a secret or a secret_file", w.Name)
		}
		names[w.Name] = true
		for _, kind := range w.Types {
			if !slices.Contains(seckill.EventTypes, kind) {
				return fmt.Errorf("%q is no type of an event, of %q: want some of %v", kind, w.Name, seckill.EventTypes)
			}
		}
	}
	return nil
}

// weakWebhooks says which receivers on other machines are reached without TLS: the
// signature proves who sends, and hides nothing.
func (c *Config) weakWebhooks() (weak []string) {
	for _, w := range c.Webhooks {
		if u, err := url.Parse(string(w.URL)); err == nil && u.Scheme == "http" && elsewhere(u.Hostname()) {
			weak = append(weak, fmt.Sprintf("webhooks: %q is on another machine and told without TLS: write https://", w.Name))
		}
	}
	return weak
}

// hookTypes are the types of events that any receiver wants.
func (c *Config) hookTypes() (types []string) {
	for _, kind := range seckill.EventTypes {
		if slices.ContainsFunc(c.Webhooks, func(w Webhook) bool { return len(w.Types) == 0 || slices.Contains(w.Types, kind) }) {
			types = append(types, kind)
		}
	}
	return types
}

// shownWebhooks are the receivers without their secrets.
func shownWebhooks(list []Webhook) []map[string]any {
	all := make([]map[string]any, len(list))
	for i, w := range list {
		all[i] = map[string]any{"name": w.Name, "url": w.URL.String(), "secret": w.Secret.String(), "secret_file": w.SecretFile, "previous_secret": w.PreviousSecret.String(), "previous_secret_file": w.PreviousSecretFile, "types": w.Types}
	}
	return all
}

// openWebhooks makes what tells the receivers.
func (n *Node) openWebhooks() error {
	var receivers []event.Receiver
	for _, w := range n.config.Webhooks {
		secret, err := secretOf(w.Secret, w.SecretFile, "webhooks: secret_file of "+w.Name)
		if err != nil {
			return err
		}
		previous, err := secretOf(w.PreviousSecret, w.PreviousSecretFile, "webhooks: previous_secret_file of "+w.Name)
		if err != nil {
			return err
		}
		if len(secret) == 0 {
			return fmt.Errorf("webhooks (%s): %s: the secret is empty", EnvName("webhooks"), w.Name)
		}
		signer, err := payment.NewSigners(string(secret), string(previous))
		if err != nil {
			return fmt.Errorf("webhooks (%s): %s: %w", EnvName("webhooks"), w.Name, err)
		}
		receivers = append(receivers, event.Receiver{Name: w.Name, URL: string(w.URL), Types: w.Types, Signer: signer})
	}
	n.webhooks = event.NewWebhooks(receivers, n.store, n.log, n.metrics)
	return nil
}
