package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"seckill"
)

// eligiblePiece is how many bytes of a list are sent at once: a body holds 8 KB, quotes
// and all.
const eligiblePiece = 4000

func newAccessCommand() *cobra.Command {
	var s server
	cmd := &cobra.Command{
		Use:   "access",
		Short: "Say who may buy: block, allow, lists of buyers, invitations",
		Long: `Say who may buy. What is said is in force on the node that is asked at once, and on
every other within a second.`,
		Example: `  seckill access block --network 203.0.113.0/24 --note "a farm"
  seckill access allow --buyer li.wei --sale 1
  seckill access list
  seckill access eligible 1 --file buyers.csv
  seckill access invite --uses 10`,
	}
	s.flags(cmd)
	cmd.AddCommand(s.setAccess(seckill.ListBlock, "Keep a buyer or a network from buying"),
		s.setAccess(seckill.ListAllow, "Let a buyer pass without a challenge, or a network without counting its buyers"),
		s.setAccess("remove", "Take a buyer or a network off its list"), s.listAccess(), s.eligible(), s.invite())
	return cmd
}

// call sends a request as an administrator.
func (s *server) call(cmd *cobra.Command, method, path string, body, answer any) error {
	c, err := s.as(cmd)
	if err != nil {
		return err
	}
	return s.asked(c.Call(cmd.Context(), method, path, body, answer))
}

// setAccess is one of block, allow and remove.
func (s *server) setAccess(what, short string) *cobra.Command {
	var sale, buyer, network, note string
	cmd := &cobra.Command{
		Use: what, Short: short, Args: cobra.NoArgs,
		Example: "  seckill access " + what + " --network 203.0.113.0/24\n  seckill access " + what + " --buyer li.wei --sale 1",
		RunE: func(cmd *cobra.Command, _ []string) error {
			body := map[string]any{}
			for name, v := range map[string]string{"sale": sale, "buyer": buyer, "network": network, "note": note} {
				if v != "" {
					body[name] = v
				}
			}
			if what == "remove" {
				return s.call(cmd, "POST", "/api/admin/access/remove", body, nil)
			}
			body["list"] = what
			var e seckill.AccessEntry
			if err := s.call(cmd, "POST", "/api/admin/access", body, &e); err != nil {
				return err
			}
			return printJSON(cmd, e)
		},
	}
	f := cmd.Flags()
	f.StringVar(&sale, "sale", "", "`id` of the sale (default: all of them)")
	f.StringVar(&buyer, "buyer", "", "the buyer's `id`")
	f.StringVar(&network, "network", "", "an `address`, or a network such as 203.0.113.0/24")
	if what != "remove" {
		f.StringVar(&note, "note", "", "why, for whoever reads the list")
	}
	cmd.MarkFlagsOneRequired("buyer", "network")
	cmd.MarkFlagsMutuallyExclusive("buyer", "network")
	return cmd
}

func (s *server) listAccess() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List who is blocked and who is allowed", Args: cobra.NoArgs, Example: "  seckill access list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "LIST\tSALE\tBUYER OR NETWORK\tBY\tSINCE\tNOTE")
			for cursor := ""; ; {
				var page struct {
					Items []seckill.AccessEntry
					Next  string
				}
				if err := s.call(cmd, "GET", "/api/admin/access?limit=100&cursor="+url.QueryEscape(cursor), nil, &page); err != nil {
					return err
				}
				for _, e := range page.Items {
					sale := "all"
					if e.Sale != 0 {
						sale = e.Sale.String()
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", e.List, sale, e.Buyer+e.Network, e.By, e.CreatedAt.Format(time.RFC3339), e.Note)
				}
				if cursor = page.Next; cursor == "" {
					return w.Flush()
				}
			}
		},
	}
}

func (s *server) eligible() *cobra.Command {
	var file string
	var none bool
	cmd := &cobra.Command{
		Use:   "eligible SALE --file BUYERS.csv",
		Short: "Upload the buyers who may buy in a sale whose rule is a list",
		Long: `Upload the buyers who may buy in a sale whose rule is a list (seckill sale create
--eligible list). The first column of the file has their ids; a first line "buyer" is a
head. They replace the list that is there, once the last of them has been sent. Upload
it before the sale opens.`,
		Example: "  seckill access eligible 1 --file buyers.csv",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := s.named(cmd, args); err != nil {
				return err
			}
			in := cmd.InOrStdin()
			if file != "-" && !none {
				f, err := os.Open(file)
				if err != nil {
					return fmt.Errorf("--file: %w", err)
				}
				defer f.Close()
				in = f
			}
			var answer struct {
				Sale   string `json:"sale"`
				Buyers int    `json:"buyers"`
			}
			mode := "replace"
			if none {
				if err := s.call(cmd, "POST", "/api/admin/sales/"+args[0]+"/eligible", map[string]any{"csv": "", "mode": mode}, &answer); err != nil {
					return err
				}
				return printJSON(cmd, answer)
			}
			upload := rand.Text()
			err := pieces(in, func(csv string, more bool) error {
				body := map[string]any{"csv": csv, "mode": mode, "upload": upload}
				if more {
					body["more"] = true
				}
				err := s.call(cmd, "POST", "/api/admin/sales/"+args[0]+"/eligible", body, &answer)
				mode = "continue"
				return err
			})
			if err != nil {
				return err
			}
			return printJSON(cmd, answer)
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "the `table`, or - for the standard input")
	cmd.Flags().BoolVar(&none, "none", false, "empty the list: nobody may buy")
	cmd.MarkFlagsOneRequired("file", "none")
	cmd.MarkFlagsMutuallyExclusive("file", "none")
	return cmd
}

// pieces cuts a table into pieces of whole lines, and sends one after the other, saying
// whether there are more.
func pieces(in io.Reader, send func(csv string, more bool) error) error {
	lines := bufio.NewScanner(in)
	var piece strings.Builder
	for lines.Scan() {
		line := lines.Text()
		if strings.TrimSpace(line) == "" {
			continue
		}
		if piece.Len()+len(line) > eligiblePiece && piece.Len() > 0 {
			if err := send(piece.String(), true); err != nil {
				return err
			}
			piece.Reset()
		}
		piece.WriteString(line + "\n")
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("--file: %w", err)
	}
	if piece.Len() == 0 {
		return errors.New("--file: there is no buyer in it")
	}
	return send(piece.String(), false)
}

func (s *server) invite() *cobra.Command {
	var uses, hours int
	cmd := &cobra.Command{
		Use: "invite", Short: "Make an invitation, where auth.registration is invited", Args: cobra.NoArgs, Example: "  seckill access invite --uses 10 --hours 48",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var answer struct {
				Invite    string    `json:"invite"`
				Uses      int       `json:"uses"`
				ExpiresAt time.Time `json:"expires_at"`
			}
			if err := s.call(cmd, "POST", "/api/admin/invites", map[string]int{"uses": uses, "hours": hours}, &answer); err != nil {
				return err
			}
			return printJSON(cmd, answer)
		},
	}
	cmd.Flags().IntVar(&uses, "uses", 1, "accounts that it opens")
	cmd.Flags().IntVar(&hours, "hours", 24, "hours until it ends")
	return cmd
}
