// Package nginx holds the configuration of nginx in front of the nodes, as it is
// installed, for whoever starts an nginx with it.
package nginx

import "embed"

// Files are nginx.conf and seckill.conf, the same everywhere, and in the folder
// seckill what every installation has of its own, as an example.
//
//go:embed nginx.conf seckill.conf seckill
var Files embed.FS
