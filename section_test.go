package seckill

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestInWhichSectionASaleStands(t *testing.T) {
	t.Parallel()
	f, err := os.Open("testdata/sections.txt")
	require.NoError(t, err)
	defer f.Close()
	now, cases := time.UnixMilli(1_800_000_000_000), 0
	sections := map[string]Section{"open": SectionOpen, "soon": SectionSoon, "over": SectionOver}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		var opens, closes, sold, total int64
		var flags, want string
		_, err := fmt.Sscanf(line, "%d %d %d/%d %s %s", &opens, &closes, &sold, &total, &flags, &want)
		require.NoError(t, err, line)
		s := Sale{OpensAt: now.Add(time.Duration(opens) * time.Second), ClosesAt: now.Add(time.Duration(closes) * time.Second), Sold: sold, Total: total,
			Paused: strings.Contains(flags, "paused"), Ended: strings.Contains(flags, "ended")}
		require.Equal(t, sections[want], s.SectionAt(now), line)
		cases++
	}
	require.Greater(t, cases, 10)
}
