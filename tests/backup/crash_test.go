// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"strings"
	"testing"
)

// A full that is killed in another folder costs the chain in the first one
// nothing, be it of one full only or of more; and the next full there succeeds.
func TestBackupFullKilledElsewhere(t *testing.T) {
	t.Parallel()
	program := crashing(t)
	for incs, name := range []string{"a full", "a full and an inc"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBackups(t, twoDisks())
			b.changeAll(t)
			b.make(t, checkpoint(0), ours(t), "-l", "full")
			for i := range incs {
				b.changeAll(t)
				b.make(t, checkpoint(1+i), ours(t), "-l", "inc")
			}
			other := b.into("other")
			for _, step := range []string{"begin", "begun", "side", "named0"} {
				other.changeAll(t)
				p := other.start(t, program, "VIRTNB_CRASH_AT="+step, "-l", "full")
				if err := p.end(t); exitStatus(err) != -1 {
					t.Fatalf("not killed at %s: %v\n%s", step, err, &p.out)
				}
				if step == "begun" { // its job is not for the first folder to end
					if out, err := b.run(ours(t), "-l", "inc"); err == nil || !strings.Contains(out, "active backup operation") {
						t.Fatalf("%v: %s", err, out)
					}
				}
			}
			b.changeAll(t)
			b.make(t, checkpoint(1+incs), ours(t), "-l", "inc")
			b.check(t)
			other.changeAll(t)
			other.make(t, checkpoint(0), ours(t), "-l", "full")
			other.changeAll(t)
			other.make(t, checkpoint(1), ours(t), "-l", "inc")
			other.wantCheckpoints(t, 2)
			other.check(t)
			// The first set is not gone on from by mistake: its checkpoints are gone.
			b.changeAll(t)
			out := b.make(t, checkpoint(2+incs), ours(t), "-l", "inc")
			wantOutput(t, out, "saved whole")
			b.check(t)
			b.checkRestores(t, b.targets[0])
		})
	}
}
