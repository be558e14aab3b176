package main

import "unsafe"

// blank writes stars over a part of an argument of this process. On Linux the
// texts of os.Args are those that the kernel shows, in memory that may be written.
// s MUST be one of them: any other text of Go is not to be changed.
func blank(s string, from, to int) {
	if from >= to || to > len(s) {
		return
	}
	shown := unsafe.Slice(unsafe.StringData(s), len(s))
	for i := from; i < to; i++ {
		shown[i] = '*'
	}
}
