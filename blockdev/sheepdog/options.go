package sheepdog

import (
	"strconv"
	"strings"
	"time"

	"github.com/qmon/qmon/blockdev"
)

func init() {
	blockdev.Register(blockdev.Driver{
		Name:          "sheepdog",
		Protocol:      true,
		Prefixes:      []string{"sheepdog", "sheepdog+tcp", "sheepdog+unix"},
		OpenOptions:   openOptions,
		CreateOptions: createOptions,
		Open:          open,
		Create:        create,
	})
}

var openOptions = blockdev.OptionTable{
	{Name: "filename", Type: blockdev.OptString, Help: "name of the VDI with its prefix, in place of vdi, tag and server"},
	{Name: "vdi", Type: blockdev.OptString, Help: "name of the VDI"},
	{Name: "snap-id", Type: blockdev.OptInt, Help: "number of the snapshot to open"},
	{Name: "tag", Type: blockdev.OptString, Help: "tag of the snapshot to open"},
	{Name: "server.type", Type: blockdev.OptEnum, Enum: []string{"inet", "unix"}, Help: "how the server is reached"},
	{Name: "server.host", Type: blockdev.OptString, Help: "host of the server, this one by default"},
	{Name: "server.port", Type: blockdev.OptString, Help: "TCP port of the server, 7000 by default"},
	{Name: "server.path", Type: blockdev.OptString, Help: "socket of the server"},
	{Name: "gateways", Type: blockdev.OptString, Help: "other servers to turn to, HOST:PORT or a socket's path each, with spaces between"},
	{Name: "request-timeout", Type: blockdev.OptInt, Default: "120", Help: "seconds that a request may take"},
	{Name: "reconnect-timeout", Type: blockdev.OptInt, Default: "30", Help: "seconds to get a lost connection back"},
	{Name: "break-lock", Type: blockdev.OptBool, Default: "off", Help: "take over the lock of a client that crashed"},
}

// settings are what openOptions say.
type settings struct {
	target
	gateways           []gateway // the server, then others
	timeout, reconnect time.Duration
	breakLock          bool
}

// maxTimeout is the longest time an option may ask for, in seconds: a day.
const maxTimeout = 24 * 60 * 60

func parseSettings(v blockdev.Values) (settings, error) {
	var o struct {
		Filename  string `option:"filename"`
		VDI       string `option:"vdi"`
		SnapID    int64  `option:"snap-id"`
		Tag       string `option:"tag"`
		Type      string `option:"server.type"`
		Host      string `option:"server.host"`
		Port      string `option:"server.port"`
		Path      string `option:"server.path"`
		Gateways  string `option:"gateways"`
		Timeout   int64  `option:"request-timeout"`
		Reconnect int64  `option:"reconnect-timeout"`
		BreakLock bool   `option:"break-lock"`
	}
	var s settings
	invalid := func(text string) (settings, error) {
		return s, blockdev.Errorf(blockdev.ErrInvalid, "open", o.Filename, "%s", text)
	}
	if err := v.Decode(&o); err != nil {
		return s, err
	}
	switch {
	case o.Timeout <= 0 || o.Timeout > maxTimeout || o.Reconnect < 0 || o.Reconnect > maxTimeout:
		return invalid("request-timeout and reconnect-timeout are numbers of seconds, a day at most")
	case o.Filename != "" && (o.VDI != "" || o.Tag != "" || o.SnapID != 0 || o.Type+o.Host+o.Port+o.Path != ""):
		return invalid("filename cannot be used together with vdi, tag, snap-id and server")
	case o.Filename == "" && o.VDI == "":
		return invalid("parameter 'vdi' is missing")
	case o.SnapID < 0 || o.SnapID > 1<<32-1:
		return invalid("snap-id has more than 32 bits")
	case o.SnapID != 0 && o.Tag != "":
		return invalid("snap-id and tag cannot be used together")
	case (o.Type == "unix") != (o.Path != ""):
		return invalid("server.type unix needs server.path, and nothing else does")
	}
	s.timeout, s.reconnect = time.Duration(o.Timeout)*time.Second, time.Duration(o.Reconnect)*time.Second
	s.breakLock = o.BreakLock
	s.target = target{vdiName: vdiName{o.VDI, o.Tag, uint32(o.SnapID)}, server: tcp(o.Host, o.Port)}
	if o.Path != "" {
		s.server = gateway{"unix", o.Path}
	}
	var err error
	if o.Filename != "" {
		s.target, err = parseName(o.Filename)
	} else {
		err = s.check()
	}
	if err != nil {
		return s, err
	}
	others, err := parseGateways(o.Gateways)
	s.gateways = append([]gateway{s.server}, others...)
	return s, err
}

var createOptions = blockdev.OptionTable{
	{Name: "size", Type: blockdev.OptSize, Help: "Size of the virtual disk"},
	{Name: "backing_file", Type: blockdev.OptString, Help: "File name of a base image"},
	{Name: "backing_fmt", Type: blockdev.OptString, Help: "Must be 'raw' if present"},
	{Name: "preallocation", Type: blockdev.OptString, Help: "Preallocation mode (allowed values: off, full)"},
	{Name: "redundancy", Type: blockdev.OptString, Help: "Redundancy of the image: copies, or data:parity strips"},
	{Name: "object_size", Type: blockdev.OptSize, Help: "Object size of the image"},
}

// Limits of redundancy, which two bytes encode.
const (
	maxCopies = 31 // what the daemon keeps of an object at most
	maxParity = 15 // four bits
)

// parseRedundancy reads "copies", or "data:parity" strips of an erasure code, where data is
// 2, 4, 8 or 16.
func parseRedundancy(text string) (copies, policy uint8, err error) {
	invalid := blockdev.Errorf(blockdev.ErrInvalid, "create", "", "Invalid redundancy '%s'", text)
	first, second, coded := strings.Cut(text, ":")
	n, e := strconv.ParseUint(first, 10, 8)
	if e != nil || n < 1 || n > maxCopies {
		return 0, 0, invalid
	}
	if !coded {
		return uint8(n), 0, nil
	}
	parity, e := strconv.ParseUint(second, 10, 8)
	data := n == 2 || n == 4 || n == 8 || n == 16
	if e != nil || !data || parity < 1 || parity > maxParity || n+parity > maxCopies {
		return 0, 0, invalid
	}
	return uint8(n + parity), uint8(n/2<<4 | parity), nil
}
