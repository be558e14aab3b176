package app

import "seckill/internal/access"

// guard makes who decides, before the gate, who may ask.
func (n *Node) guard(secrets [][]byte) (*access.Guard, error) {
	c := access.Config{Settings: n.config.Access, Store: n.store, Secrets: secrets, Now: n.gate.Now, Log: n.log, Metrics: n.metrics}
	if n.redis != nil {
		c.Nodes = n.redis
	}
	if w := c.Warning(); w != "" {
		n.log.Warn(w)
	}
	return access.New(c)
}
