package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"seckill"
	"seckill/internal/account"
	"seckill/internal/app"
	"seckill/internal/client"
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
	callTimeout  = 30 * time.Second
	heavyTimeout = 80 * time.Second // of an audit or a rebuild: a server takes up to a minute for them
	callToken    = 10 * time.Minute // life of a token made for one command
)

// as is the client of an administrator.
func (s *server) as(cmd *cobra.Command) (*client.Client, error) {
	token := s.token
	if token == "" {
		_, secret, err := s.secret(cmd)
		if err != nil {
			return nil, fmt.Errorf("%w; or give an administrator's --token", err)
		}
		if token, err = account.Mint(secret, "cli", seckill.RoleAdmin, callToken); err != nil {
			return nil, err
		}
	}
	return &client.Client{Server: s.url, Token: token, HTTP: &http.Client{Timeout: callTimeout}}, nil
}

// asked says what to do about an error of the client.
func (s *server) asked(err error) error {
	var way *url.Error
	switch {
	case errors.As(err, &way) && way.Op == "parse":
		return fmt.Errorf("--server %s: %w", s.url, err)
	case errors.As(err, &way):
		return fmt.Errorf("the server at %s does not answer (see --server): %w", s.url, err)
	}
	return err
}

// ask asks the server as an administrator.
func ask[T any](s *server, cmd *cobra.Command, f func(ctx context.Context, c *client.Client) (T, error)) (v T, err error) {
	c, err := s.as(cmd)
	if err != nil {
		return v, err
	}
	v, err = f(cmd.Context(), c)
	return v, s.asked(err)
}

// askLong is ask for what may take a server its time.
func askLong[T any](s *server, cmd *cobra.Command, f func(ctx context.Context, c *client.Client) (T, error)) (T, error) {
	return ask(s, cmd, func(ctx context.Context, c *client.Client) (T, error) {
		c.HTTP = &http.Client{Timeout: heavyTimeout}
		return f(ctx, c)
	})
}

func printJSON(cmd *cobra.Command, v any) error {
	e := json.NewEncoder(cmd.OutOrStdout())
	e.SetIndent("", "  ")
	return e.Encode(v)
}
