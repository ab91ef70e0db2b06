// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// lines reads JSON lines.
func lines(t *testing.T, text string) (list []Line) {
	t.Helper()
	for line := range strings.Lines(text) {
		var l Line
		dec := json.NewDecoder(strings.NewReader(line))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&l); err != nil || l.Type != "progress" {
			t.Fatalf("%q: %v", line, err)
		}
		list = append(list, l)
	}
	return list
}

func TestJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		d := New(Options{Stderr: file(t), JSON: &out})
		a, b := d.Disk("vda", 1000), d.Disk("vdb", 500)
		for range 4 { // 100 bytes a second
			time.Sleep(time.Second)
			a.Add(100)
		}
		time.Sleep(500 * time.Millisecond)
		b.Fail()
		a.Add(600)
		time.Sleep(100 * time.Millisecond)
		a.Finish()
		a.Fail() // too late
		time.Sleep(10 * time.Second)
		d.Close()
		d.Close()

		list := lines(t, out.String())
		var got []string
		for _, l := range list {
			got = append(got, fmt.Sprintf("%s %s %d/%d", l.Disk, l.State, l.Done, l.Total))
		}
		if len(list) != 10 || got[8] != "vdb failed 0/500" || got[9] != "vda done 1000/1000" {
			t.Fatalf("%q", got)
		}
		last := list[6]
		if last.Disk != "vda" || last.State != "running" || last.Rate < 70 || last.Rate > 110 || last.Remaining == nil || *last.Remaining < 5 || *last.Remaining > 10 {
			t.Errorf("%+v", last)
		}
		if end := list[9]; end.Remaining == nil || *end.Remaining != 0 || end.Elapsed != 4.6 || end.Rate != 217 {
			t.Errorf("%+v", end)
		}
		if first := list[1]; first.Disk != "vdb" || first.Remaining != nil {
			t.Errorf("%+v", first)
		}
	})
}

func TestJSONWithoutData(t *testing.T) {
	var out bytes.Buffer
	d := New(Options{Stderr: file(t), JSON: &out})
	d.Disk("vda", 0).Finish()
	d.Close()
	if list := lines(t, out.String()); len(list) != 1 || list[0].State != "done" || list[0].Total != 0 {
		t.Errorf("%+v", list)
	}
}

// file is a file for stderr.
func file(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(t.TempDir() + "/stderr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestNoBarsWithoutTerminal(t *testing.T) {
	f := file(t)
	d := New(Options{Stderr: f})
	k := d.Disk("vda", 100)
	fmt.Fprintln(d, "one")
	k.Add(100)
	time.Sleep(2 * drawEvery)
	k.Finish()
	d.Close()
	fmt.Fprintln(d, "two")
	if text, err := os.ReadFile(f.Name()); err != nil || string(text) != "one\ntwo\n" {
		t.Errorf("%q, %v", text, err)
	}
}

// terminalFile is a terminal of 100 columns, and what appeared on it when it was closed.
func terminalFile(t *testing.T) (tty *os.File, output func() string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 30, Col: 100}); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(master) // ends with EIO when tty is closed
		got <- string(text)
	}()
	t.Cleanup(func() { tty.Close(); master.Close() })
	return tty, func() string {
		tty.Close()
		return strings.ReplaceAll(<-got, "\r\n", "\n")
	}
}

// screen is what is left on a terminal after text with "up N lines and erase
// to the end" in it, which is all that the bars use.
func screen(text string) (rows []string) {
	up := regexp.MustCompile(`\x1b\[(\d+)A\x1b\[J`)
	for _, part := range strings.SplitAfter(text, "\n") {
		for m := up.FindStringSubmatch(part); m != nil; m = up.FindStringSubmatch(part) {
			var n int
			fmt.Sscan(m[1], &n)
			rows = rows[:max(0, len(rows)-n)]
			part = strings.Replace(part, m[0], "", 1)
		}
		if part != "" {
			rows = append(rows, strings.TrimRight(part, "\n "))
		}
	}
	return rows
}

func TestBars(t *testing.T) {
	tty, output := terminalFile(t)
	d := New(Options{Label: "saving disk", Stderr: tty})
	fmt.Fprintln(d, "before")
	a, b, c := d.Disk("vda", 4<<20), d.Disk("vdb", 8<<20), d.Disk("vdc", 0)
	a.Add(1 << 20)
	time.Sleep(3 * drawEvery)
	fmt.Fprintln(d, "while")
	a.Add(3 << 20)
	a.Finish()
	c.Finish()
	b.Add(2 << 20)
	time.Sleep(3 * drawEvery)
	b.Fail()
	fmt.Fprintln(d, "at the end")
	d.Close()
	fmt.Fprintln(d, "after")
	text := output()
	rows := screen(text)
	want := []string{`^before$`, `^while$`, `^at the end$`,
		`^ *saving disk vda +4.0 MiB / 4.0 MiB \[=+\] +100% +\S+ [KM]iB/s$`,
		`^ *failed: vdb +2.0 MiB / 8.0 MiB \[=+>-+\] +25% +\S+ [KM]iB/s$`,
		`^ *saving disk vdc +0 B / 0 B \[=+\] +100% +0 B/s$`,
		`^after$`}
	if !slices.EqualFunc(rows, want, func(row, pattern string) bool { return regexp.MustCompile(pattern).MatchString(row) }) {
		t.Errorf("%q\nfrom %q", rows, text)
	}
	if !regexp.MustCompile(`saving disk vda +1.0 MiB / 4.0 MiB \[=+>-+\] +25% +\S+ [KM]?i?B/s +\d+:\d\d`).MatchString(text) {
		t.Errorf("no bar on its way: %q", text)
	}
}

func TestBarsNotWanted(t *testing.T) {
	for _, o := range []Options{{NoBars: true}, {JSON: io.Discard}} {
		tty, output := terminalFile(t)
		o.Stderr = tty
		d := New(o)
		k := d.Disk("vda", 10)
		time.Sleep(2 * drawEvery)
		k.Finish()
		fmt.Fprintln(d, "line")
		d.Close()
		if text := output(); text != "line\n" {
			t.Errorf("%q", text)
		}
	}
}

// Many goroutines count, log and finish at the same time. No line is lost or
// cut.
func TestBarsParallel(t *testing.T) {
	tty, output := terminalFile(t)
	d := New(Options{Label: "saving disk", Stderr: tty})
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			k := d.Disk(fmt.Sprint("vd", i), 1000)
			for n := range 50 {
				k.Add(20)
				fmt.Fprintf(d, "line %d of vd%d\n", n, i)
				time.Sleep(time.Millisecond)
			}
			k.Finish()
		})
	}
	all.Wait()
	d.Close()
	rows := screen(output())
	for i := range 6 {
		for n := range 50 {
			if line := fmt.Sprintf("line %d of vd%d", n, i); !slices.Contains(rows, line) {
				t.Fatalf("%q is lost:\n%q", line, rows)
			}
		}
	}
	if len(rows) != 306 {
		t.Errorf("%d rows: %q", len(rows), rows)
	}
}

// A terminal that goes away takes nothing with it.
func TestBarsTerminalGone(t *testing.T) {
	tty, output := terminalFile(t)
	d := New(Options{Stderr: tty})
	k := d.Disk("vda", 10)
	time.Sleep(2 * drawEvery)
	output() // closes it
	fmt.Fprintln(d, "line")
	time.Sleep(3 * drawEvery)
	k.Add(10)
	d.Disk("vdb", 10).Finish()
	k.Finish()
	d.Close()
}

func TestMeter(t *testing.T) {
	var m meter
	start := time.Now()
	if m.rate() != 0 {
		t.Error("a rate without samples")
	}
	done := int64(0)
	for i := range 1000 { // 100 bytes a second, later 10
		m.sample(start.Add(time.Duration(i)*100*time.Millisecond), done)
		if i < 500 {
			done += 10
		} else {
			done++
		}
	}
	if r := m.rate(); r < 9.9 || r > 10.1 || len(m.samples) > 110 {
		t.Errorf("%v from %d samples", r, len(m.samples))
	}
	m.sample(start.Add(time.Hour), done)
	if r := m.rate(); r < 0 || r > 1 || len(m.samples) != 2 {
		t.Errorf("%v from %d samples", r, len(m.samples))
	}
}

func BenchmarkAdd(b *testing.B) {
	f, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	d := New(Options{Stderr: f})
	defer d.Close()
	k := d.Disk("vda", 1<<40)
	for b.Loop() {
		k.Add(4096)
	}
}
