package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A short drill: nobody notices two kills, and the report says so.
func TestDrill(t *testing.T) {
	file := filepath.Join(t.TempDir(), "drills.md")
	if err := os.WriteFile(file, []byte("before\n"+begin+"old\n"+end+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var report, progress strings.Builder
	if err := drill(t.Context(), config{seed: 7, kills: 2, out: file}, &report, &progress); err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(b), "before\n"+begin+report.String()+end+"after\n"; got != want {
		t.Errorf("the file is\n%s\nwant\n%s", got, want)
	}
	for _, want := range []string{"| kills (SIGKILL) | 2 |", "| **violations** | **0** |"} {
		if !strings.Contains(report.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, report.String())
		}
	}
}
