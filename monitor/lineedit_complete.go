package monitor

import (
	"strings"
	"unicode/utf8"
)

// The list of completions: columns as wide as the longest word and a gap, in a window of
// eighty, whatever the real one is, as QEMU prints it.
const (
	listWidth     = 80
	listGap       = 2
	listMinColumn = 10
)

// completion is what Tab does to a line.
type completion struct {
	line []rune
	pos  int
	list string // to be shown below, if not empty
}

// complete asks for the words that fit left of the cursor and puts in what they share.
func (c Completer) complete(line []rune, pos int) completion {
	done := completion{line: line, pos: pos}
	if c == nil {
		return done
	}
	left := string(line[:pos])
	n, words := c(left)
	if len(words) == 0 || n < 0 || n > len(left) {
		return done
	}
	typed, word := left[len(left)-n:], sharedPrefix(words)
	if len(words) == 1 && !strings.HasSuffix(word, "/") {
		word += " "
	}
	if len(words) > 1 {
		done.list = wordList(words)
	}
	if len(words) > 1 && len(word) <= len(typed) {
		return done
	}
	left = left[:len(left)-n] + word
	done.line = append([]rune(left), line[pos:]...)
	done.pos = utf8.RuneCountInString(left)
	return done
}

// sharedPrefix is what all words begin with.
func sharedPrefix(words []string) string {
	prefix := words[0]
	for _, w := range words[1:] {
		for !strings.HasPrefix(w, prefix) {
			_, size := utf8.DecodeLastRuneInString(prefix)
			prefix = prefix[:len(prefix)-size]
		}
	}
	return prefix
}

// wordList sets words in columns.
func wordList(words []string) string {
	width := listMinColumn
	for _, w := range words {
		width = max(width, len(w)+listGap)
	}
	width = min(width, listWidth)
	columns := listWidth / width
	var b strings.Builder
	for i, w := range words {
		b.WriteString(w + strings.Repeat(" ", max(0, width-len(w))))
		if (i+1)%columns == 0 || i == len(words)-1 {
			b.WriteByte('\n')
		}
	}
	return b.String()
}
