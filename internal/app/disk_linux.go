package app

import "syscall"

// disk is what is free on the disk of the data directory, in bytes.
func (n *Node) disk() (free, size int64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(n.config.DataDir, &s); err != nil {
		return 0, 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), int64(s.Blocks) * int64(s.Bsize), nil
}
