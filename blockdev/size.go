package blockdev

// ParseSize reads a number of bytes as QEMU's tools take it: decimal, hexadecimal, with a
// fraction, with a suffix (B, k, K, M, G, T, P, E: powers of 1024; none means bytes).
func ParseSize(s string) (int64, error) { panic("being written") }

// FormatSize writes n bytes as QEMU's tools show it: three significant digits and a unit:
// "16 MiB", "1.5 GiB", "0 B".
func FormatSize(n int64) string { panic("being written") }
