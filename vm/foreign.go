package vm

// SkipSections names sections and RAM blocks of the saved state that other emulators'
// machines of the same type have and this one has not, because they hold nothing of it:
// loading a stream skips them instead of refusing it. Before Run.
func (m *Machine) SkipSections(names ...string) {
	if m.foreign == nil {
		m.foreign = map[string]bool{}
	}
	for _, n := range names {
		m.foreign[n] = true
	}
}

// SkipsSection tells if SkipSections named the section or RAM block.
func (m *Machine) SkipsSection(name string) bool { return m.foreign[name] }
