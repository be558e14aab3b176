package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"seckill"
	"seckill/internal/account"
	"seckill/internal/app"
)

// server is the node that a command talks to, by HTTP like everybody else.
type server struct {
	url, token, config, secretFile string
}

// flags adds those that every such command has.
func (s *server) flags(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVar(&s.url, "server", "http://127.0.0.1:8080", "base `address` of the server")
	f.StringVar(&s.token, "token", "", "an administrator's `token` (default: made with this machine's secret)")
	s.secretFlags(cmd)
}

func (s *server) secretFlags(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVar(&s.config, "config", "", "configuration `file` (YAML)")
	f.StringVar(&s.secretFile, "secret-file", "", "`file` that holds the server's auth.secret")
	f.String("data-dir", app.Defaults().DataDir, "the server's data `directory`, where it keeps a secret it made itself")
}

// secret finds what the server signs tokens with.
func (s *server) secret(cmd *cobra.Command) (app.Config, []byte, error) {
	c, err := app.LoadConfig(s.config, os.Environ(), cmd.Flags())
	if err != nil {
		return c, nil, err
	}
	if s.secretFile != "" {
		c.Auth.Secret, c.Auth.SecretFile = "", s.secretFile
	}
	secrets, _, err := c.Secrets(false)
	if err != nil {
		return c, nil, err
	}
	return c, secrets[0], nil
}

const (
	callTimeout = 30 * time.Second
	callToken   = 10 * time.Minute // life of a token made for one command
)

// call sends a request as an administrator and decodes the answer.
func (s *server) call(cmd *cobra.Command, method, path string, body, answer any) error {
	token := s.token
	if token == "" {
		_, secret, err := s.secret(cmd)
		if err != nil {
			return fmt.Errorf("%w; or give an administrator's --token", err)
		}
		if token, err = account.Mint(secret, "cli", seckill.RoleAdmin, callToken); err != nil {
			return err
		}
	}
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(b)
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, content)
	if err != nil {
		return fmt.Errorf("--server %s: %w", s.url, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("the server at %s does not answer (see --server): %w", s.url, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 16<<20))
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		var p struct{ Title, Code, Detail string }
		if json.Unmarshal(b, &p) != nil || p.Code == "" {
			return fmt.Errorf("%s %s: %s", method, path, res.Status)
		}
		if p.Detail != "" {
			p.Title += ": " + p.Detail
		}
		return fmt.Errorf("%s (%s, request %s)", p.Title, p.Code, res.Header.Get("X-Request-Id"))
	}
	return json.Unmarshal(b, answer)
}

func printJSON(cmd *cobra.Command, v any) error {
	e := json.NewEncoder(cmd.OutOrStdout())
	e.SetIndent("", "  ")
	return e.Encode(v)
}
