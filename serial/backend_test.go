package serial

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	for _, step := range []struct{ options, write, want string }{
		{"", "one\n", "one\n"},
		{",append=on", "two\n", "one\ntwo\n"},
		{"", "three\n", "three\n"},
	} {
		d := openForTest(t, "file,id=a,path="+path+step.options)
		connectForTest(t, d).wants(t, "<opened>")
		d.Write([]byte(step.write))
		d.Close()
		if got, err := os.ReadFile(path); err != nil || string(got) != step.want {
			t.Errorf("%q, %v", got, err)
		}
		if d.Filename() != "file" || d.Terminal() {
			t.Errorf("%s, terminal %v", d.Filename(), d.Terminal())
		}
	}
}

func TestLogFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	d := openForTest(t, "null,id=a,mux=on,logfile="+path)
	for range 2 {
		p, err := Attach(d)
		if err != nil {
			t.Fatal(err)
		}
		p.Write([]byte("text\n"))
	}
	d.Close()
	if got, err := os.ReadFile(path); err != nil || string(got) != "text\ntext\n" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestRingBuf(t *testing.T) {
	d := openForTest(t, "ringbuf,id=a,size=4").(*RingBuf)
	take := func(n int) string {
		buf := make([]byte, n)
		return string(buf[:d.Take(buf)])
	}
	d.Write([]byte("abcdefg"))
	if got := take(10); got != "defg" {
		t.Errorf("%q", got)
	}
	d.Write([]byte("hij"))
	if got := take(2) + "|" + take(5) + "|" + take(1); got != "hi|j|" {
		t.Errorf("%q", got)
	}
	if err := openChardev("ringbuf,id=a,size=1T"); err == nil {
		t.Error("a ring of a terabyte")
	}
}

func TestSet(t *testing.T) {
	var s Set
	open := func(arg string) error {
		c, err := ParseChardev(arg)
		if err != nil {
			return err
		}
		_, err = s.Open(c)
		return err
	}
	for _, arg := range []string{"null,id=a", "ringbuf,id=b,mux=on", "mux,id=c,chardev=a"} {
		if err := open(arg); err != nil {
			t.Errorf("%s: %v", arg, err)
		}
	}
	if err := open("null,id=a"); err == nil || err.Error() != "Duplicate ID 'a' for chardev" {
		t.Error(err)
	}
	var list string
	for _, d := range s.All() {
		list += d.ID() + "=" + d.Filename() + " "
	}
	if want := "a=null b=mux b-base=ringbuf c=mux "; list != want {
		t.Errorf("%s, want %s", list, want)
	}
	reference, _ := Parse("serial0", "chardev:a")
	d, err := s.Open(reference)
	if err != nil || d != s.Find("a") {
		t.Errorf("%v, %v", d, err)
	}
	var inUse *InUseError
	if _, err := Attach(d); !errors.As(err, &inUse) {
		t.Errorf("attached to what a multiplexer has: %v", err)
	}
	reference.Chardev = "nope"
	if _, err := s.Open(reference); err == nil || err.Error() != `chardev "nope" not found` {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestOneStdio(t *testing.T) {
	for range 2 {
		d, err := Open(Config{Kind: KindStdio, ID: "a"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = Open(Config{Kind: KindStdio, ID: "b"})
		if err == nil || err.Error() != "cannot use stdio by multiple character devices" {
			t.Error(err)
		}
		d.Close()
	}
}
