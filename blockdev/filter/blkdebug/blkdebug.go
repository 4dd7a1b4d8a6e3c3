// Package blkdebug is the filter that makes chosen requests fail, or wait, so that tests can
// see what a driver does about it:
//
//	qcow2 --"l2_load"--> [ rules, state ] --> image
//	      --read ------> fails with EIO, once
//
// Drivers above raise events before they take a step ([blockdev.Event]). A rule for an event
// arms an error for the requests that follow, or changes the state, a number that other
// rules can ask for; a breakpoint suspends who raised the event. The filter can also claim
// to need aligned requests, or short ones, and does what is missing itself.
//
//	blkdebug:CONFIG:IMAGE      CONFIG is a file of rules, and may be empty
//	driver=blkdebug,image.filename=IMAGE,inject-error.0.event=read_aio,...
package blkdebug

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/filter"
	"github.com/qmon/qmon/internal/rangelock"
)

const driverName = "blkdebug"

func init() {
	blockdev.Register(blockdev.Driver{
		Name:           driverName,
		Prefixes:       []string{driverName},
		Children:       []blockdev.Child{{Name: "image"}},
		OpenOptions:    openOptions,
		ParseFilename:  parseFilename,
		FormatFilename: formatFilename,
		Open:           open,
	})
}

var openOptions = append(blockdev.OptionTable{
	{Name: "config", Type: blockdev.OptString, Help: "file with rules"},
	{Name: "inject-error", Type: blockdev.OptTree, Help: "list of errors: event, state, iotype, errno, sector, once, immediately"},
	{Name: "set-state", Type: blockdev.OptTree, Help: "list of changes of the state: event, state, new_state"},
	{Name: "take-child-perms", Type: blockdev.OptTree, Help: "list of permissions; no effect"},
	{Name: "unshare-child-perms", Type: blockdev.OptTree, Help: "list of permissions; no effect"},
}, limitOptions...)

func parseFilename(filename string) (blockdev.Options, error) {
	rest := strings.TrimPrefix(filename, driverName+":")
	config, image, ok := strings.Cut(rest, ":")
	if !ok {
		return nil, blockdev.Errorf(blockdev.ErrInvalid, "open", filename, "blkdebug requires both config file and image path")
	}
	o := blockdev.Options{"x-image": image}
	if config != "" {
		o["config"] = config
	}
	return o, nil
}

func formatFilename(own blockdev.Options, children []string) string {
	rest := maps.Clone(own)
	delete(rest, "config")
	if len(rest) > 0 || len(children) != 1 {
		return ""
	}
	return fmt.Sprintf("%s:%s:%s", driverName, own["config"], children[0])
}

// Node is the filter.
type Node struct {
	filter.Base
	image  blockdev.Node
	limits limits
	// busy keeps a misaligned write apart from what else touches its blocks, in bytes.
	busy *rangelock.Lock

	// unflushed is set by writes: without any, there is nothing that a flush could fail at.
	unflushed atomic.Bool

	mu       sync.Mutex
	woken    sync.Cond // a request was suspended, or may go on
	rules    []*rule
	armed    []*rule // those of rules whose event was the last with any
	state    int64
	stopped  []*stopped
	announce func(line string)
}

var (
	_ blockdev.Node           = (*Node)(nil)
	_ blockdev.Filter         = (*Node)(nil)
	_ blockdev.ZeroWriter     = (*Node)(nil)
	_ blockdev.Discarder      = (*Node)(nil)
	_ blockdev.Limiter        = (*Node)(nil)
	_ blockdev.Breaker        = (*Node)(nil)
	_ blockdev.EventReceiver  = (*Node)(nil)
	_ blockdev.AllocatedSizer = (*Node)(nil)
)

func open(_ context.Context, r blockdev.OpenRequest) (blockdev.Node, error) {
	n := &Node{Base: filter.Over(r.File), image: r.File, busy: rangelock.NewOvertaking(), state: 1}
	n.woken.L = &n.mu
	var err error
	if n.rules, err = readRules(r.Options); err != nil {
		return nil, err
	}
	if n.limits, err = readLimits(r.Options, blockdev.LimitsOf(r.File).Alignment); err != nil {
		return nil, err
	}
	n.Receive(blockdev.EventNone)
	return n, nil
}

// Map is the image's. Rules can make it fail, too.
func (n *Node) Map(off, length int64) (blockdev.Extent, error) {
	if err := n.check(ioBlockStatus, off, length); err != nil {
		return blockdev.Extent{}, err
	}
	return filter.Map(n, off, length)
}

// Flush flushes the image.
func (n *Node) Flush() error {
	if !n.unflushed.Load() {
		return n.image.Flush()
	}
	n.Receive(blockdev.EventFlushToDisk)
	n.unflushed.Store(false)
	err := n.check(ioFlush, 0, 0)
	if err == nil {
		err = n.image.Flush()
	}
	if err != nil {
		n.unflushed.Store(true)
	}
	return err
}

// Close lets suspended requests go.
func (n *Node) Close() error {
	n.mu.Lock()
	n.release("")
	n.mu.Unlock()
	return n.image.Flush()
}

// AllocatedSize is not known, as in QEMU.
func (n *Node) AllocatedSize() (int64, error) {
	return 0, blockdev.Errorf(blockdev.ErrNotSupported, "size", "", "Operation not supported")
}
