// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"virtnb/internal/host"
	"virtnb/internal/host/hosttest"
)

// TestMain lets the test program be the one that is killed in
// TestKilledProgramLeavesNothing.
func TestMain(m *testing.M) {
	if dir := os.Getenv("VIRTNB_TEST_VICTIM"); dir != "" {
		fmt.Println(victim(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// victim starts a program on each kind of host and waits to be killed.
func victim(dir string) error {
	port, err := strconv.Atoi(os.Getenv("VIRTNB_TEST_PORT"))
	if err != nil {
		return err
	}
	remote, err := host.Connect(context.Background(), host.SSHOptions{Host: "127.0.0.1", Port: port})
	if err != nil {
		return err
	}
	for name, h := range map[string]host.Host{"local": host.Local{}, "ssh": remote} {
		name = filepath.Join(dir, name)
		_, err := h.Start(context.Background(), host.Command{Argv: sleeper(name + ".pid"), Remove: []string{name}})
		if err != nil {
			return err
		}
	}
	select {}
}

func TestKilledProgramLeavesNothing(t *testing.T) {
	s := hosttest.Start(t)
	dir := t.TempDir()
	names := []string{filepath.Join(dir, "local"), filepath.Join(dir, "ssh")}
	for _, name := range names {
		check(t, os.WriteFile(name, nil, 0o600))
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "VIRTNB_TEST_VICTIM="+dir, "VIRTNB_TEST_PORT="+strconv.Itoa(s.Port))
	cmd.Stderr, cmd.Stdout = os.Stderr, os.Stderr
	check(t, cmd.Start())
	for _, name := range names {
		waitFor(t, "the programs to start", func() bool { return readPID(name+".pid") > 0 })
	}
	check(t, cmd.Process.Kill())
	cmd.Wait()
	for _, name := range names {
		waitGone(t, readPID(name+".pid"))
		waitFor(t, name+" to be removed", func() bool { _, err := os.Stat(name); return errors.Is(err, fs.ErrNotExist) })
	}
}
