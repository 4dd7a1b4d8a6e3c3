package monitor

import (
	"strconv"
	"strings"
)

// environment is what parsing a command line needs to know of the machine.
type environment interface {
	// register is the value of $name; ok is false if there is no such register.
	register(name string) (v uint64, ok bool)
	// complain tells what is wrong with a string where QEMU does: on standard output.
	complain(text string)
}

// expression takes an expression:
//
//	sum    = logic { ("+" | "-") logic }
//	logic  = prod { ("&" | "|" | "^") prod }
//	prod   = unary { ("*" | "/" | "%") unary }
//	unary  = ("+" | "-" | "~") unary | "(" sum ")" | "'" char "'" | "$" register | number
//
// Values are signed and have 64 bits.
func (s *scanner) expression() (int64, error) {
	return s.binary(0)
}

// levels are the binary operators, weakest binding first.
var levels = []string{"+-", "&|^", "*/%"}

func (s *scanner) binary(level int) (int64, error) {
	if level == len(levels) {
		return s.unary()
	}
	left, err := s.binary(level + 1)
	for err == nil && s.rest != "" && strings.IndexByte(levels[level], s.rest[0]) >= 0 {
		op := s.next()
		var right int64
		if right, err = s.binary(level + 1); err == nil {
			left, err = apply(op, left, right)
		}
	}
	return left, err
}

// next takes one character and the space behind it.
func (s *scanner) next() byte {
	c := s.rest[0]
	s.rest = s.rest[1:]
	s.skipSpace()
	return c
}

func apply(op byte, a, b int64) (int64, error) {
	switch op {
	case '+':
		return a + b, nil
	case '-':
		return a - b, nil
	case '&':
		return a & b, nil
	case '|':
		return a | b, nil
	case '^':
		return a ^ b, nil
	case '*':
		return a * b, nil
	}
	if b == 0 {
		return 0, badValue("division by zero")
	}
	if op == '/' {
		return a / b, nil
	}
	return a % b, nil
}

// maxNesting bounds how deep parentheses and signs go: a line is at most 4 KiB, but not
// every goroutine's stack is worth that much recursion.
const maxNesting = 256

func (s *scanner) unary() (v int64, err error) {
	s.depth++
	defer func() { s.depth-- }()
	if s.depth > maxNesting {
		return 0, badValue("expression is too deep")
	}
	s.skipSpace()
	if s.rest == "" {
		return 0, badValue("unexpected end of expression")
	}
	switch s.rest[0] {
	case '+', '-', '~':
		op := s.next()
		v, err = s.unary()
		switch op {
		case '-':
			v = -v
		case '~':
			v = ^v
		}
		return v, err
	case '(':
		s.next()
		if v, err = s.binary(0); err != nil {
			return 0, err
		}
		if !strings.HasPrefix(s.rest, ")") {
			return 0, badValue("')' expected")
		}
		s.next()
		return v, nil
	case '\'':
		return s.character()
	case '$':
		return s.registerValue()
	}
	return s.number()
}

// character takes a character constant. There are no escapes in it.
func (s *scanner) character() (int64, error) {
	if len(s.rest) < 2 {
		return 0, badValue("character constant expected")
	}
	c := s.rest[1]
	if len(s.rest) < 3 || s.rest[2] != '\'' {
		return 0, badValue("missing terminating ' character")
	}
	s.rest = s.rest[3:]
	s.skipSpace()
	return int64(c), nil
}

func (s *scanner) registerValue() (int64, error) {
	end := 1
	for end < len(s.rest) && isRegisterChar(s.rest[end]) {
		end++
	}
	v, ok := s.env.register(s.rest[1:end])
	if !ok {
		return 0, badValue("unknown register")
	}
	s.rest = s.rest[end:]
	s.skipSpace()
	return int64(v), nil
}

func isRegisterChar(c byte) bool {
	return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c == '.' || c == ':'
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// number takes a decimal, octal (0...) or hexadecimal (0x...) number.
func (s *scanner) number() (int64, error) {
	base, digits, start := 10, "0123456789", 0
	switch {
	case len(s.rest) > 2 && s.rest[0] == '0' && s.rest[1]|0x20 == 'x' && isHex(s.rest[2]):
		base, digits, start = 16, "0123456789abcdefABCDEF", 2
	case s.rest[0] == '0':
		base, digits = 8, "01234567"
	}
	end := start
	for end < len(s.rest) && strings.IndexByte(digits, s.rest[end]) >= 0 {
		end++
	}
	if end == start {
		return 0, badValue("invalid char '" + s.rest[:1] + "' in expression")
	}
	v, err := strconv.ParseUint(s.rest[start:end], base, 64)
	if err != nil {
		return 0, badValue("number too large")
	}
	s.rest = s.rest[end:]
	s.skipSpace()
	return int64(v), nil
}

func isHex(c byte) bool { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }
