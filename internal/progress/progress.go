// SPDX-License-Identifier: Apache-2.0

// Package progress shows how far the disks of a run are: a bar for each on a
// terminal, or lines of JSON for a program, or nothing.
//
// Log lines go through Write, which puts them above the bars.
package progress

import (
	"encoding/json"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"virtnb/internal/terminal"
)

// How often bars are drawn and lines of JSON are written.
const (
	drawEvery = 200 * time.Millisecond
	jsonEvery = time.Second
)

// Progress counts the bytes of one disk.
type Progress interface {
	// Add counts n bytes more as done. It costs little, and may be called by
	// several goroutines.
	Add(n int64)
	// Finish says that the disk is done, whatever was counted.
	Finish()
	// Fail says that the disk will not get further.
	Fail()
}

// Options say where progress is shown.
type Options struct {
	Label  string    // what stands before the name of a disk: "saving disk"
	Stderr *os.File  // log lines go there, and bars if it is a terminal
	NoBars bool      // though it is a terminal
	JSON   io.Writer // lines of JSON go there, and no bars to the terminal; nil: none
}

// Display shows the progress of disks. It may be used by several goroutines.
type Display struct {
	label  string
	stderr *os.File
	json   io.Writer
	draw   bool

	stop    chan struct{} // closed to end the refresher
	stopped chan struct{} // closed when it has ended

	mu     sync.Mutex // guards what follows, and writes to json
	disks  []*disk
	bars   *bars // nil as long as there is nothing to draw
	closed bool
}

// New makes a display. The caller closes it.
func New(o Options) *Display {
	d := &Display{label: o.Label, stderr: o.Stderr, json: o.JSON, stop: make(chan struct{}), stopped: make(chan struct{})}
	d.draw = !o.NoBars && o.JSON == nil && terminal.Is(o.Stderr)
	go d.refresh()
	return d
}

// Disk begins a disk of which total bytes are to be done.
func (d *Display) Disk(name string, total int64) Progress {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := &disk{display: d, name: name, total: max(total, 0), start: time.Now()}
	k.measure(k.start)
	d.disks = append(d.disks, k)
	if d.draw && !d.closed {
		if d.bars == nil {
			d.bars = newBars(d.stderr)
		}
		k.bar = d.bars.add(k)
	}
	return k
}

// Write writes log lines to stderr, above the bars.
func (d *Display) Write(lines []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bars != nil && d.bars.print(lines) {
		return len(lines), nil
	}
	return d.stderr.Write(lines)
}

// Close draws what there is for the last time. Disks that are neither finished
// nor failed stay as they are. Write goes on to work.
func (d *Display) Close() {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return
	}
	d.closed = true
	d.mu.Unlock()
	close(d.stop)
	<-d.stopped
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bars != nil {
		d.bars.close(d.disks)
		d.bars = nil
	}
}

// refresh draws bars and writes JSON until the display is closed.
func (d *Display) refresh() {
	defer close(d.stopped)
	if !d.draw && d.json == nil {
		return
	}
	ticker := time.NewTicker(drawEvery)
	defer ticker.Stop()
	for next := time.Now().Add(jsonEvery); ; {
		select {
		case now := <-ticker.C:
			report := !now.Before(next)
			if report {
				next = now.Add(jsonEvery)
			}
			d.tick(now, report)
		case <-d.stop:
			return
		}
	}
}

func (d *Display) tick(now time.Time, report bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range d.disks {
		k.measure(now)
		if report && k.state.Load() == running {
			d.report(k, now)
		}
	}
	if d.bars != nil {
		d.bars.draw(d.disks)
	}
}

// Line is a line of JSON: one a second for each disk that is on its way, and
// one for its end.
type Line struct {
	Type      string   `json:"type"` // "progress"
	Disk      string   `json:"disk"`
	State     string   `json:"state"`     // "running", "done" or "failed"
	Done      int64    `json:"done"`      // bytes
	Total     int64    `json:"total"`     // bytes
	Rate      int64    `json:"rate"`      // bytes per second, of late; at the end over all
	Elapsed   float64  `json:"elapsed"`   // seconds
	Remaining *float64 `json:"remaining"` // seconds, null if not known
}

// report writes the line of a disk. What is wrong with the reader of these
// lines is no reason to end a backup.
func (d *Display) report(k *disk, now time.Time) {
	if d.json == nil {
		return
	}
	text, err := json.Marshal(k.line(now))
	if err == nil {
		_, _ = d.json.Write(append(text, '\n'))
	}
}

// ended takes note of a disk's last state. The first one counts.
func (d *Display) ended(k *disk, state int32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !k.state.CompareAndSwap(running, state) {
		return
	}
	k.end()
	d.report(k, time.Now())
}

// The states of a disk.
const (
	running int32 = iota
	finished
	failed
)

var stateNames = []string{"running", "done", "failed"}

// disk is the progress of one disk.
type disk struct {
	display *Display
	name    string
	total   int64
	start   time.Time
	done    atomic.Int64
	state   atomic.Int32
	bar     *bar // nil if none is drawn

	mu    sync.Mutex // guards meter
	meter meter      // while running, of late; then over all
}

func (k *disk) Add(n int64) { k.done.Add(n) }
func (k *disk) Finish()     { k.display.ended(k, finished) }
func (k *disk) Fail()       { k.display.ended(k, failed) }

// measure takes a sample for the rate.
func (k *disk) measure(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.state.Load() == running {
		k.meter.sample(now, k.done.Load())
	}
}

// end makes the rate that of the whole time.
func (k *disk) end() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.meter = meter{}
	k.meter.sample(k.start, 0)
	k.meter.sample(time.Now(), k.done.Load())
}

// rate is the rate in bytes per second, 0 if not known.
func (k *disk) rate() float64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.meter.rate()
}

// line is the state of the disk.
func (k *disk) line(now time.Time) Line {
	rate := k.rate()
	l := Line{Type: "progress", Disk: k.name, State: stateNames[k.state.Load()], Done: k.done.Load(), Total: k.total}
	l.Rate = int64(rate)
	l.Elapsed = now.Sub(k.start).Round(time.Millisecond).Seconds()
	if left := float64(l.Total - l.Done); l.State != "running" || left <= 0 {
		l.Remaining = new(float64)
	} else if rate > 0 {
		seconds := float64(int64(left/rate*1000)) / 1000
		l.Remaining = &seconds
	}
	return l
}
