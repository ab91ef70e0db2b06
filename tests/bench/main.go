// SPDX-License-Identifier: Apache-2.0

// Command bench measures the plugin as ratios to nbdkit's file plugin, which
// serves the flat disk of the same content, and mounts as ratios to other
// files of that content, in one run on one machine.
//
//	go build -o bin/bench ./tests/bench && bin/bench
//
// For each disk it starts both servers, compares random reads with the flat
// file, and then loads one server after the other in short rounds; a ratio is
// the median of the rounds' ratios, with their quartiles. content.go, layout.go
// and disk.go make the disks, client.go and flow.go are the NBD client,
// server.go the servers, scenario.go and fresh.go what is measured, report.go
// the targets between the rows and the table. Mounts are read by fio (fio.go):
// fuse.go has the loads, fuseparty.go those that are compared, fuselist.go the
// time to list. Backups are of a guest of libvirt (backupguest.go): backup.go
// has what is compared, backupparty.go the programs, usage.go what they use.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"
	"time"
)

// bench is one run.
type bench struct {
	dir     string // for all files and sockets
	plugin  string
	virtnb  string // program
	rows    *regexp.Regexp
	limit   *regexp.Regexp // further limits the rows; nil if not
	fio     bool
	pin     bool          // loads of one request keep to one core
	rounds  int           // of a comparison; one more warms up
	slice   time.Duration // of one server in a round
	repeats int           // of series of latencies
	starts  int           // of servers, to see how long it takes

	restoreSize int64 // of the disk that is restored, bytes
	report      *report
}

// clientProcs: each connection blocks a thread, and more of them than Go has
// processors would wait for each other.
const clientProcs = 16

func main() {
	if path := os.Getenv(ceilingEnv); path != "" {
		if err := serveCeiling(path, os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	runtime.GOMAXPROCS(max(clientProcs, runtime.NumCPU()))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	b, parent, err := parseFlags()
	if err == nil {
		err = b.run(ctx, parent)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parseFlags() (b *bench, parent string, err error) {
	b = &bench{rounds: 31, slice: 50 * time.Millisecond, repeats: 5, starts: 11, report: &report{out: os.Stdout}}
	rows := flag.String("run", "", "measure only what matches this `regexp`, such as plain/incs=200/rand4k/qd16 or lz4/.*/cold4k")
	flag.StringVar(&parent, "dir", "", "put the disks below this `folder` (default /dev/shm where it has room, else $TMPDIR)")
	flag.StringVar(&b.plugin, "plugin", "bin/nbdkit-virtnb-plugin.so", "measure this `plugin`")
	flag.StringVar(&b.virtnb, "virtnb", "bin/virtnb", "measure the mounts of this `program`")
	quick := flag.Bool("quick", false, "fewer disks and no mounts, shorter rounds: less than a minute, more noise")
	flag.BoolVar(&b.pin, "pin", true, "run client and server on one core where there is one request in flight")
	flag.BoolVar(&b.fio, "fio", false, "also measure uncompressed disks with fio's nbd engine")
	restoreSize := flag.Int64("restoresize", 4096, "restore a disk of so many `MiB`")
	flag.BoolVar(&b.report.json, "json", false, "print one JSON object")
	flag.Parse()
	if b.restoreSize = *restoreSize << 20; b.restoreSize <= 0 {
		return nil, "", fmt.Errorf("a disk of %d MiB cannot be restored", *restoreSize)
	}
	if *quick {
		b.limit, b.rounds, b.slice, b.repeats, b.starts = quickRows, 11, 20*time.Millisecond, 2, 5
	}
	if flag.NArg() > 0 {
		return nil, "", fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if b.rows, err = regexp.Compile(*rows); err == nil {
		b.plugin, err = filepath.Abs(b.plugin)
	}
	if err == nil {
		b.virtnb, err = filepath.Abs(b.virtnb)
	}
	for _, built := range []string{b.plugin, b.virtnb} {
		if err == nil {
			_, err = os.Stat(built)
		}
	}
	return b, parent, err
}

// quickRows are what a quick run is limited to: the ends of each scale, and
// nothing that begins with fuse, nor backups.
var quickRows = regexp.MustCompile(`^(plain/(extents=(100|1000000)|incs=(1|200))|lz4/extents=10000|peer/[^/]*)/[^f]`)

func (b *bench) match(row string) bool {
	return b.rows.MatchString(row) && (b.limit == nil || b.limit.MatchString(row))
}

// run measures everything and leaves nothing behind.
func (b *bench) run(ctx context.Context, parent string) (err error) {
	if b.report.Machine, err = thisMachine(); err != nil {
		return err
	}
	if b.dir, err = workDir(parent); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	b.report.Machine.Dir = filepath.Dir(b.dir)
	b.report.Machine.Method = b.method()
	b.report.head()
	for i, pl := range plans() {
		if err := b.runPlan(ctx, i, pl); err != nil {
			return realError(ctx, err)
		}
	}
	if err := b.runBackups(ctx); err != nil {
		return realError(ctx, err)
	}
	if err := b.runRestores(ctx, parent); err != nil {
		return realError(ctx, err)
	}
	return b.report.finish()
}

func (b *bench) method() string {
	m := fmt.Sprintf("medians of %d rounds of %v for each server, one after the other; qd16: 16 requests on each of %d connections; qd1: one connection", b.rounds, b.slice, connections)
	if b.pin {
		m += ", client and server on one core"
	}
	return m + fmt.Sprintf("\nfuse: fio for %v on each of several files, one after the other, medians of %d rounds; x1 and x4: readers; the last name is what virtnb is compared with\nbackup: whole runs of each program, one after the other, medians of at most %d rounds; ratios are how many times as fast, or how many times less, virtnb is", fuseSlice, min(b.rounds, fuseRounds), min(b.rounds, backupRounds))
}
