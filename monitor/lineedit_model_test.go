package monitor

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// modelLine is a line and a cursor, edited in the plainest way.
type modelLine struct{ left, right string }

// modelKeys are keys and what they do.
var modelKeys = map[string]func(*modelLine){
	"a":       func(l *modelLine) { l.left += "a" },
	"B":       func(l *modelLine) { l.left += "B" },
	" ":       func(l *modelLine) { l.left += " " },
	"\u4e16":  func(l *modelLine) { l.left += "\u4e16" },
	"\x1b[D":  func(l *modelLine) { l.move(-1) },
	"\x1b[C":  func(l *modelLine) { l.move(1) },
	"\x01":    func(l *modelLine) { l.left, l.right = "", l.left+l.right },
	"\x05":    func(l *modelLine) { l.left, l.right = l.left+l.right, "" },
	"\x7f":    func(l *modelLine) { l.left = string(dropLast([]rune(l.left))) },
	"\x1b[3~": func(l *modelLine) { l.right = string(dropFirst([]rune(l.right))) },
	"\x04":    func(l *modelLine) { l.right = string(dropFirst([]rune(l.right))) },
	"\x0b":    func(l *modelLine) { l.right = "" },
	"\x17": func(l *modelLine) {
		word := strings.TrimRight(l.left, " ")
		l.left = l.left[:strings.LastIndexByte(word, ' ')+1]
	},
}

func dropLast(r []rune) []rune  { return r[:max(0, len(r)-1)] }
func dropFirst(r []rune) []rune { return r[min(1, len(r)):] }

func (l *modelLine) move(by int) {
	all := []rune(l.left + l.right)
	pos := min(max(0, len([]rune(l.left))+by), len(all))
	l.left, l.right = string(all[:pos]), string(all[pos:])
}

// TestKeysAgainstAModel types any keys: the line that is read and the one that the
// terminal shows are the model's.
func TestKeysAgainstAModel(t *testing.T) {
	keys := rapid.SliceOfN(rapid.SampledFrom(sortedKeys()), 1, 60)
	rapid.Check(t, func(rt *rapid.T) {
		l := newTerminalLine()
		e, err := NewLineEditor(l, EditorConfig{})
		if err != nil {
			rt.Fatal(err)
		}
		defer e.Close()
		var model modelLine
		for _, key := range keys.Draw(rt, "keys") {
			modelKeys[key](&model)
			l.enter(key)
		}
		l.enter("\r")
		got, err := e.ReadLine("> ")
		if want := model.left + model.right; got != want || err != nil {
			rt.Fatalf("read %q, %v; want %q", got, err, want)
		}
		// A terminal gives some characters two columns, render does not.
		wide := strings.Contains(l.text(), "\u4e16")
		if shown := render(l.text()); !wide && shown != "> "+got+"\n" {
			rt.Fatalf("shown %q, read %q", shown, got)
		}
	})
}

func sortedKeys() []string {
	var keys []string
	for key := range modelKeys {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
