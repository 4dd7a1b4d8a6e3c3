package authz

import (
	"io"
	"os"
	"sync"

	"github.com/qmon/qmon/blockdev"
)

// listFile is a list in a file, which is read again when it has changed.
type listFile struct {
	name    string
	refresh bool

	mu   sync.Mutex
	read os.FileInfo // as it was when list was read
	list Authorizer
}

var listFileOptions = blockdev.OptionTable{
	{Name: "filename", Type: blockdev.OptString, Help: "file with the list, as JSON"},
	{Name: "refresh", Type: blockdev.OptBool, Default: "on", Help: "read the file again when it has changed"},
}

func newListFile(o blockdev.Options) (Authorizer, error) {
	v, err := listFileOptions.Parse(o)
	if err != nil {
		return nil, err
	}
	l := &listFile{}
	l.name, _ = v["filename"].(string)
	l.refresh, _ = v["refresh"].(bool)
	if l.name == "" {
		return nil, blockdev.Errorf(blockdev.ErrInvalid, "object", "", "filename not provided")
	}
	return l, l.load()
}

// load reads the file. On failure the list that was there stays, and is asked no more until
// the file is right again.
func (l *listFile) load() error {
	f, err := os.Open(l.name)
	if err != nil {
		return l.failed(err)
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return l.failed(err)
	}
	text, err := io.ReadAll(io.LimitReader(f, blockdev.MaxFilename+1))
	if err != nil {
		return l.failed(err)
	}
	o, err := blockdev.ParseJSONOptions(string(text))
	if err != nil {
		return l.failed(err)
	}
	list, err := newList(o)
	if err != nil {
		return l.failed(err)
	}
	l.read, l.list = info, list
	return nil
}

func (l *listFile) failed(err error) error {
	return &blockdev.Error{Op: "authz", File: l.name, Offset: blockdev.NoOffset, Text: "Unable to read " + l.name, Err: err}
}

func (l *listFile) Allowed(identity string) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refresh {
		info, err := os.Stat(l.name)
		if err != nil {
			return false, l.failed(err)
		}
		if !os.SameFile(info, l.read) || !info.ModTime().Equal(l.read.ModTime()) || info.Size() != l.read.Size() {
			if err := l.load(); err != nil {
				return false, err
			}
		}
	}
	return l.list.Allowed(identity)
}
