//go:build !unix

package nbd

import (
	"context"
	"errors"
)

var errNoFork = errors.New("--fork is not supported on this system")

func (t *tool) fork(context.Context) error { return errNoFork }

func tellParent() error { return errNoFork }
