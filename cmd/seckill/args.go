package main

import (
	"regexp"
	"strings"
)

// takeArgs copies the arguments of the process, and then blanks in the process's
// own ones, which everybody on this machine sees in ps, what is secret: passwords
// in addresses of engines, and tokens. What is given by a file or by the
// environment does not stand there at all.
func takeArgs(args []string) []string {
	var taken []string
	for i, arg := range args {
		if i > 0 {
			taken = append(taken, strings.Clone(arg))
		}
		name, _, _ := strings.Cut(arg, "=")
		if i > 0 && args[i-1] == "--token" && !strings.HasPrefix(arg, "-") {
			blank(arg, 0, len(arg))
		}
		if name == "--token" {
			blank(arg, len("--token="), len(arg))
		}
		for _, in := range []*regexp.Regexp{passwordIn, nameInRedis} {
			if m := in.FindStringSubmatchIndex(arg); m != nil {
				blank(arg, m[2], m[3])
			}
		}
	}
	return taken
}

// passwordIn finds the password of an address: a password that was not escaped may
// hold any character, so it reaches to the last @.
var passwordIn = regexp.MustCompile(`://[^:@/]*:(.*)@`)

// nameInRedis finds a name without a password in an address of Redis: most likely it is the
// password, since Redis' first user needs no name and the colon before it is easily forgotten.
var nameInRedis = regexp.MustCompile(`rediss?://([^:]*)@`)
