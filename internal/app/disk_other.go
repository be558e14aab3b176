//go:build !linux

package app

import "errors"

// disk is what is free on the disk of the data directory, in bytes.
func (n *Node) disk() (free, size int64, err error) {
	return 0, 0, errors.New("what is free on the disk is not known on this system")
}
