// SPDX-License-Identifier: Apache-2.0

package progress

import "time"

// window is how far back the rate looks: long enough for the bursts of a disk,
// short enough to follow when it becomes slower.
const window = 10 * time.Second

// meter measures a rate from samples of a counter.
type meter struct{ samples []sample }

type sample struct {
	at   time.Time
	done int64
}

// sample notes the counter. Times ascend. Of the samples before the window, the
// last one is kept, so that there is always something to compare with.
func (m *meter) sample(at time.Time, done int64) {
	m.samples = append(m.samples, sample{at, done})
	for len(m.samples) > 2 && at.Sub(m.samples[1].at) >= window {
		m.samples = m.samples[1:]
	}
}

// rate is the increase per second in the window, 0 if not known.
func (m *meter) rate() float64 {
	if len(m.samples) == 0 {
		return 0
	}
	first, last := m.samples[0], m.samples[len(m.samples)-1]
	seconds := last.at.Sub(first.at).Seconds()
	if seconds <= 0 {
		return 0
	}
	return max(0, float64(last.done-first.done)/seconds)
}
