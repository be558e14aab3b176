package node

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// ReadMetrics asks the node whose operations are at ops for metrics by their names, with
// labels as they are written there. Those that the node does not have are missing.
func ReadMetrics(ctx context.Context, ops string, names ...string) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", ops+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept-Encoding", "identity") // to compress it costs the node more than what is asked for
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	found := map[string]float64{}
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		for _, name := range names {
			if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
				if found[name], err = strconv.ParseFloat(value, 64); err != nil {
					return nil, fmt.Errorf("the metric %s: %w", name, err)
				}
			}
		}
	}
	return found, lines.Err()
}

// Metric is the value of a metric, 0 where the node has none of that name.
func (n *Node) Metric(ctx context.Context, name string) (float64, error) {
	found, err := ReadMetrics(ctx, n.Ops, name)
	return found[name], err
}
