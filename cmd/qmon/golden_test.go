//go:build unix

package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qmon/qmon/internal/peer"
)

// notPlayed are the recorded sessions that qmon does not reproduce, each with its reason. A
// session that passes must not be listed.
var notPlayed = map[string]string{
	"help-block-commands": helpProse,
	"info-simple":         "asks for a PC's mouse, network, USB, VNC, KVM, balloon and TPM",
	"unknown-and-args":    helpProse,
}

// helpProse is a reason that several sessions share.
const helpProse = "compares QEMU's help sentences; qmon's help is in its own words"

// TestRecordedSessions plays sessions recorded from the real QEMU against the program
// under its names.
func TestRecordedSessions(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	peer.Need(t, "python3")
	dir := filepath.Join("..", "..", "testdata", "golden")
	cmd := exec.Command("python3", filepath.Join(dir, "replay"), "-v",
		"--prog", binary(t, "qemu-system-x86_64"), "--prog-virt", binary(t, "qemu-system-riscv64"),
		"--img", binary(t, "qemu-img"), "--nbd", binary(t, "qemu-nbd"),
		filepath.Join(dir, "hmp.jsonl"), filepath.Join(dir, "mux.jsonl"))
	out, err := cmd.CombinedOutput()
	if _, failed := err.(*exec.ExitError); err != nil && !failed {
		t.Fatal(err)
	}
	played := map[string]bool{}
	for name, lines := range verdicts(string(out)) {
		played[name] = true
		reason, listed := notPlayed[name]
		failed := strings.HasPrefix(lines, "FAIL ")
		switch {
		case failed && !listed:
			t.Error(lines)
		case !failed && listed:
			t.Errorf("%s passes now, but is listed as: %s", name, reason)
		}
	}
	for name := range notPlayed {
		if !played[name] {
			t.Errorf("no session is called %s", name)
		}
	}
	if len(played) == 0 {
		t.Errorf("nothing was played:\n%s", out)
	}
}

// verdicts splits replay's output by session: the verdict line with what belongs to it.
func verdicts(out string) map[string]string {
	m := map[string]string{}
	name := ""
	for _, line := range strings.Split(out, "\n") {
		if word, rest, ok := strings.Cut(line, " "); ok && (word == "FAIL" || word == "ok") {
			name = strings.TrimSpace(rest)
		}
		if name != "" {
			m[name] += line + "\n"
		}
	}
	return m
}
