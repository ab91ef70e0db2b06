// SPDX-License-Identifier: Apache-2.0

// Package logfile writes the log of a run: to a file, to stderr and to the
// system log, in the format of virtnbdbackup,
//
//	[YYYY-mm-dd HH:MM:SS] LEVEL logger module - function [thread]: message
//
// It is a [slog.Handler]: make a logger of it with slog.New. The module is the
// source file that logs. The attribute "disk" names the thread; other
// attributes follow the message.
//
// Passwords do not get through.
package logfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"log/syslog"
	"os"
	"slices"
	"sync"
)

// Critical is a level above error, for what the peer logs so.
const Critical = slog.Level(12)

// DevLog is the socket of the system log.
const DevLog = "/dev/log"

// ThreadKey is the attribute whose value stands where the peer has the thread.
const ThreadKey = "disk"

const mainThread = "MainThread"

// Options say where to log to, and how much.
type Options struct {
	Path    string    // the file, which is made with permissions for the owner only; "": none
	Stderr  io.Writer // nil: none. It gets whole lines, one each call
	Color   bool      // on Stderr
	Verbose bool      // log what is of level debug, too
	Syslog  string    // the socket, DevLog; "": none
	Tag     string    // the name of the program in the system log

	Secrets []string // are hidden wherever they occur
}

// Log is an open log. It may be used by several goroutines.
type Log struct {
	shared *shared
	thread string
	prefix string // of the keys of attributes
	suffix string // attributes, as they follow the message
}

// shared is what all loggers derived from one have in common.
type shared struct {
	level  slog.Level
	color  bool
	redact redactor

	mu       sync.Mutex // guards what follows
	file     *os.File
	stderr   io.Writer
	syslog   *syslog.Writer
	warnings int
	errors   int
	failed   error // of the first write to the file that failed
}

// Open begins a log. A file that is there is continued. The system log may be
// missing: that is a warning in the log.
func Open(o Options) (*Log, error) {
	s := &shared{level: slog.LevelInfo, color: o.Color, redact: newRedactor(o.Secrets), stderr: o.Stderr}
	if o.Verbose {
		s.level = slog.LevelDebug
	}
	if o.Path != "" {
		f, err := os.OpenFile(o.Path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return nil, err
		}
		s.file = f
	}
	l := &Log{shared: s, thread: mainThread}
	if o.Syslog != "" {
		var err error
		if s.syslog, err = dialSyslog(o.Syslog, o.Tag); err != nil {
			slog.New(l).Warn("the system log is not there, logging without it", "error", err)
		}
	}
	return l, nil
}

// dialSyslog connects to a socket of either kind.
func dialSyslog(path, tag string) (*syslog.Writer, error) {
	var all error
	for _, network := range []string{"unixgram", "unix"} {
		w, err := syslog.Dial(network, path, syslog.LOG_USER|syslog.LOG_INFO, tag)
		if err == nil {
			return w, nil
		}
		all = errors.Join(all, err)
	}
	return nil, all
}

// Close closes the file, and fails if something could not be written to it.
func (l *Log) Close() error {
	s := l.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.syslog != nil {
		s.syslog.Close()
		s.syslog = nil
	}
	err := s.failed
	if s.file != nil {
		err = errors.Join(err, s.file.Close())
		s.file = nil
	}
	return err
}

// Redact hides the passwords in a text that goes elsewhere.
func (l *Log) Redact(text string) string { return l.shared.redact.redact(text) }

// Warnings is the number of warnings so far.
func (l *Log) Warnings() int {
	l.shared.mu.Lock()
	defer l.shared.mu.Unlock()
	return l.shared.warnings
}

// Errors is the number of errors so far.
func (l *Log) Errors() int {
	l.shared.mu.Lock()
	defer l.shared.mu.Unlock()
	return l.shared.errors
}

// ExitStatus is what a run that logged this ends with: 1 if there was an error,
// 2 if there was a warning and the run is strict, otherwise 0.
func (l *Log) ExitStatus(strict bool) int {
	switch {
	case l.Errors() > 0:
		return 1
	case strict && l.Warnings() > 0:
		return 2
	}
	return 0
}

// Enabled says whether records of this level are logged.
func (l *Log) Enabled(_ context.Context, level slog.Level) bool { return level >= l.shared.level }

// WithAttrs is for package slog.
func (l *Log) WithAttrs(attrs []slog.Attr) slog.Handler {
	d := *l
	for _, a := range attrs {
		d.add(a)
	}
	return &d
}

// WithGroup is for package slog.
func (l *Log) WithGroup(name string) slog.Handler {
	d := *l
	if name != "" {
		d.prefix += name + "."
	}
	return &d
}

// Handle writes a record to all places. One that does not take it does not keep
// it from the others.
func (l *Log) Handle(_ context.Context, r slog.Record) error {
	line := l.format(r)
	s := l.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.Level >= slog.LevelError:
		s.errors++
	case r.Level >= slog.LevelWarn:
		s.warnings++
	}
	var err error
	if s.stderr != nil {
		_, err = io.WriteString(s.stderr, s.paint(r.Level, line)+"\n")
	}
	return errors.Join(err, s.toFile(line), s.toSyslog(r.Level, line))
}

// toFile writes to the file. The first failure is a warning, on stderr only.
func (s *shared) toFile(line string) error {
	if s.file == nil {
		return nil
	}
	_, err := s.file.WriteString(line + "\n")
	if err != nil && s.failed == nil {
		s.failed = err
		s.warnings++
		if s.stderr != nil {
			fmt.Fprintf(s.stderr, "the log file is incomplete: %v\n", err)
		}
	}
	return err
}

func (s *shared) toSyslog(level slog.Level, line string) error {
	if s.syslog == nil {
		return nil
	}
	return syslogCalls[slices.Index(levelNames, levelName(level))](s.syslog, line)
}

// syslogCalls go with levelNames.
var syslogCalls = []func(*syslog.Writer, string) error{
	(*syslog.Writer).Debug, (*syslog.Writer).Info, (*syslog.Writer).Warning, (*syslog.Writer).Err, (*syslog.Writer).Crit,
}
