// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"fmt"
	"os"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// bars are the bars on a terminal. Counting goes by the disks' own counters,
// and the bars catch up each time that they are drawn: a message to the bar for
// each extent would cost more than the extent. Drawing is asked for here, so
// that nothing is lost at the end. Callers hold the display's mutex.
type bars struct {
	container *mpb.Progress
	redraw    chan any
	ended     chan any // closed when nothing is drawn any more
}

// bar is the bar of one disk.
type bar struct{ *mpb.Bar }

func newBars(out *os.File) *bars {
	b := &bars{redraw: make(chan any), ended: make(chan any)}
	b.container = mpb.New(mpb.WithOutput(out), mpb.WithManualRefresh(b.redraw), mpb.WithShutdownNotifier(b.ended))
	return b
}

// add adds the bar of a disk, nil if the terminal has gone away.
func (b *bars) add(k *disk) *bar {
	text := func(f func() string, config ...decor.WC) decor.Decorator {
		return decor.Any(func(decor.Statistics) string { return f() }, config...)
	}
	added, err := b.container.Add(k.total, mpb.BarStyle().Build(),
		mpb.PrependDecorators(text(k.title, decor.WCSyncSpaceR), text(k.amount, decor.WCSyncSpace)),
		mpb.AppendDecorators(text(k.percent, decor.WCSyncSpace), text(k.speed, decor.WCSyncSpace), text(k.timeLeft, decor.WCSyncSpace)))
	if err != nil {
		return nil
	}
	return &bar{added}
}

// print puts lines above the bars, and says whether it could.
func (b *bars) print(lines []byte) bool {
	_, err := b.container.Write(lines)
	return err == nil
}

// draw brings the bars up to date, and onto the terminal.
func (b *bars) draw(disks []*disk) {
	for _, k := range disks {
		if k.bar != nil {
			k.bar.follow(k)
		}
	}
	select {
	case b.redraw <- time.Now():
	case <-b.ended:
	}
}

func (b *bar) follow(k *disk) {
	switch k.state.Load() {
	case finished:
		b.SetTotal(max(k.total, 1), true)
	case failed:
		b.SetCurrent(min(k.done.Load(), max(k.total-1, 0)))
		b.Abort(false)
	default: // a bar that is full would be over
		b.SetCurrent(min(k.done.Load(), max(k.total-1, 0)))
	}
}

// close draws for the last time. The second request is taken when the first
// one is being drawn, which the shutdown waits for.
func (b *bars) close(disks []*disk) {
	b.draw(disks)
	b.draw(nil)
	b.container.Shutdown()
}

func (k *disk) title() string {
	if k.state.Load() == failed {
		return "failed: " + k.name
	}
	return k.display.label + " " + k.name
}

func (k *disk) amount() string {
	return humanize.IBytes(uint64(max(k.done.Load(), 0))) + " / " + humanize.IBytes(uint64(k.total))
}

func (k *disk) percent() string {
	switch {
	case k.state.Load() == finished:
		return "100%"
	case k.total == 0:
		return "0%"
	}
	return fmt.Sprintf("%d%%", min(99, int64(float64(k.done.Load())/float64(k.total)*100)))
}

func (k *disk) speed() string { return humanize.IBytes(uint64(k.rate())) + "/s" }

func (k *disk) timeLeft() string {
	if k.state.Load() != running {
		return ""
	}
	l := k.line(time.Now())
	if l.Remaining == nil {
		return "-:--"
	}
	s := int64(*l.Remaining)
	if s < 3600 {
		return fmt.Sprintf("%d:%02d", s/60, s%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}
