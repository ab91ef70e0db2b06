// SPDX-License-Identifier: Apache-2.0

package logfile

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// timeFormat is that of a line's beginning.
const timeFormat = "[2006-01-02 15:04:05]"

// logger is the name of the logger in all lines.
const logger = "root"

// Escape sequences of terminals.
const (
	yellow = "\x1b[33m"
	red    = "\x1b[31m"
	plain  = "\x1b[0m"
)

// levelNames are Python's, in ascending order.
var levelNames = []string{"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}

func levelName(level slog.Level) string {
	i := (int(level) - int(slog.LevelDebug)) / 4
	return levelNames[max(0, min(i, len(levelNames)-1))]
}

// paint colours what somebody should notice.
func (s *shared) paint(level slog.Level, line string) string {
	switch {
	case !s.color || level < slog.LevelWarn:
		return line
	case level < slog.LevelError:
		return yellow + line + plain
	}
	return red + line + plain
}

// format is the line of a record, without its end.
func (l *Log) format(r slog.Record) string {
	d := *l
	r.Attrs(func(a slog.Attr) bool {
		d.add(a)
		return true
	})
	module, function := source(r.PC)
	text := l.shared.redact.redact(r.Message + d.suffix)
	return fmt.Sprintf("%s %s %s %s - %s [%s]: %s",
		r.Time.Format(timeFormat), levelName(r.Level), logger, module, function, d.thread, text)
}

// add takes an attribute to the others.
func (l *Log) add(a slog.Attr) {
	a.Value = a.Value.Resolve()
	switch {
	case a.Equal(slog.Attr{}):
	case a.Key == ThreadKey && l.prefix == "":
		l.thread = a.Value.String()
	case a.Value.Kind() == slog.KindGroup:
		d := *l
		if a.Key != "" {
			d.prefix += a.Key + "."
		}
		for _, member := range a.Value.Group() {
			d.add(member)
		}
		l.suffix = d.suffix
	default:
		l.suffix += " " + l.prefix + a.Key + "=" + readable(a.Value.String())
	}
}

// readable quotes what would not be one word.
func readable(s string) string {
	if s == "" || strings.ContainsAny(s, " \"") || strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// source is the module and the function of a program counter: the source file
// without its suffix, and the function without its package, type and the
// numbers of closures.
func source(pc uintptr) (module, function string) {
	frame, _ := runtime.CallersFrames([]uintptr{pc}).Next()
	if pc == 0 || frame.Function == "" {
		return "virtnb", "main"
	}
	module = strings.TrimSuffix(filepath.Base(frame.File), ".go")
	parts := strings.Split(frame.Function[strings.LastIndex(frame.Function, "/")+1:], ".")
	function = parts[len(parts)-1]
	for i := len(parts) - 1; i > 0 && isClosure(function); i-- {
		function = parts[i-1]
	}
	return module, strings.TrimSuffix(function, "-fm")
}

// isClosure says whether this part of a function's name is made up: func1, 2,
// gowrap1.
func isClosure(part string) bool {
	number := strings.TrimPrefix(strings.TrimPrefix(part, "func"), "gowrap")
	return number != "" && strings.Trim(number, "0123456789") == ""
}
