package serial

// nullDevice swallows its output and never has input. Without a display, it is also what
// a virtual console amounts to.
type nullDevice struct {
	port
	name string
}

var _ Chardev = (*nullDevice)(nil)

func openNull(c Config) (*nullDevice, error) {
	d := &nullDevice{name: string(c.Kind)}
	d.init(c.ID, true)
	return d, nil
}

// Filename implements Chardev.
func (d *nullDevice) Filename() string { return d.name }

// Write implements Chardev.
func (d *nullDevice) Write(p []byte) (int, error) {
	d.record(p)
	return len(p), nil
}

// Terminal implements Chardev.
func (d *nullDevice) Terminal() bool { return false }

// Close implements Chardev.
func (d *nullDevice) Close() error {
	d.shut()
	return nil
}
