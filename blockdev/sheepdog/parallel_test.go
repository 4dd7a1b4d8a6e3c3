package sheepdog

import (
	"sync/atomic"
	"testing"

	"github.com/qmon/qmon/blockdev"
	p "github.com/qmon/qmon/blockdev/sheepdog/protocol"
	"github.com/qmon/qmon/blockdev/sheepdog/sheeptest"
)

// TestObjectsInFlight: one request keeps four objects busy at a time. The server answers
// none before it has heard of all four.
func TestObjectsInFlight(t *testing.T) {
	const objects = 4
	for _, opcode := range []p.Opcode{p.OpCreateAndWrite, p.OpRead} {
		t.Run(opcode.String(), func(t *testing.T) {
			r := newRig(t)
			if err := r.create("d", objects*mib, nil); err != nil {
				t.Fatal(err)
			}
			if opcode == p.OpRead {
				m := r.open("d", true)
				r.write(m, filled('a', objects*mib), 0)
				if err := m.Close(); err != nil {
					t.Fatal(err)
				}
			}
			var heard atomic.Int64
			all := make(chan struct{})
			r.gateway = r.listen(sheeptest.WithForgery(func(q p.Request, _ *p.Response, _ []byte) []byte {
				if q.Opcode == opcode && !q.OID.IsInode() {
					if heard.Add(1) == objects {
						close(all)
					}
					<-all
				}
				return nil
			}))
			m := must(r.tryOpen("d", blockdev.Mode{Writable: true}, blockdev.Options{"request-timeout": "20"}))(t)
			if opcode == p.OpRead {
				r.wants(m, 'a', 0, objects*mib)
			} else {
				r.write(m, filled('a', objects*mib), 0)
			}
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
