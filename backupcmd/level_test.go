// SPDX-License-Identifier: Apache-2.0

package backupcmd

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"virtnb/format"
	"virtnb/internal/domainxml"
)

// now is the time of all plans in tests.
var now = time.Unix(1795399599, 123456000)

func planFor(t *testing.T, s situation) (plan, string, error) {
	t.Helper()
	var log strings.Builder
	s.now = now
	p, err := makePlan(s, slog.New(slog.NewTextHandler(&log, nil)))
	return p, log.String(), err
}

var (
	chainFolder = content{full: true, data: []string{"vda.full.data", "vda.inc.virtnbdbackup.1.data"}}
	copyFolder  = content{data: []string{"vda.copy.data", "vda.copy.data.chksum"}}
	wholeFolder = content{data: []string{"vda.copy.data", "vda.diff.1795399000.data", "vda.diff.1795399000.data.chksum"}}
	twoPoints   = []string{"virtnbdbackup.0", "virtnbdbackup.1"}
)

func TestPlan(t *testing.T) {
	for name, c := range map[string]struct {
		s          situation
		level      format.Level
		checkpoint string
		parent     string
		creates    bool
		file       string
		says       string
	}{
		"copy":            {situation{level: "copy"}, format.Copy, "virtnbdbackup.0", "", false, "vda.copy.data", ""},
		"full":            {situation{level: "full"}, format.Full, "virtnbdbackup.0", "", true, "vda.full.data", "Using checkpoint name: [virtnbdbackup.0]"},
		"inc":             {situation{level: "inc", content: chainFolder, checkpoints: twoPoints}, format.Inc, "virtnbdbackup.2", "virtnbdbackup.1", true, "vda.inc.virtnbdbackup.2.data", "Next checkpoint id: [2]"},
		"diff":            {situation{level: "diff", content: chainFolder, checkpoints: twoPoints}, format.Diff, "virtnbdbackup.2", "virtnbdbackup.1", false, "vda.diff.1795399599.data", "saving delta since checkpoint: [virtnbdbackup.1]"},
		"auto, empty":     {situation{level: "auto"}, format.Full, "virtnbdbackup.0", "", true, "vda.full.data", "Backup mode auto, target folder is empty: executing full backup."},
		"auto, chain":     {situation{level: "auto", content: chainFolder, checkpoints: twoPoints}, format.Inc, "virtnbdbackup.2", "virtnbdbackup.1", true, "vda.inc.virtnbdbackup.2.data", "Backup mode auto: executing incremental backup."},
		"auto, copies":    {situation{level: "auto", content: copyFolder}, format.Full, "virtnbdbackup.0", "", true, "vda.full.data", "executing full backup"},
		"only raw":        {situation{level: "full", onlyRaw: true}, format.Copy, "virtnbdbackup.0", "", false, "vda.copy.data", "Only raw disks attached, switching to backup mode copy."},
		"zip, first":      {situation{level: "auto", zip: true, content: chainFolder}, format.Full, "virtnbdbackup.0", "", true, "vda.full.data", "executing full"},
		"zip, next":       {situation{level: "auto", zip: true, checkpoints: twoPoints}, format.Inc, "virtnbdbackup.2", "virtnbdbackup.1", true, "vda.inc.virtnbdbackup.2.data", "executing incremental"},
		"off: full":       {situation{level: "full", offline: true}, format.Copy, "virtnbdbackup.0", "", false, "vda.copy.data", "Domain is offline, resetting backup options"},
		"off: auto":       {situation{level: "auto", offline: true}, format.Copy, "virtnbdbackup.0", "", false, "vda.copy.data", "Domain is offline, resetting backup options"},
		"off: auto again": {situation{level: "auto", offline: true, content: copyFolder}, format.Diff, "diff.1795399599", "", false, "vda.diff.1795399599.data", "saving the whole disks"},
		"off: and again":  {situation{level: "auto", offline: true, content: wholeFolder}, format.Diff, "diff.1795399599", "", false, "vda.diff.1795399599.data", ""},
		"off: auto, inc":  {situation{level: "auto", offline: true, content: chainFolder, checkpoints: twoPoints}, format.Diff, "virtnbdbackup.2", "virtnbdbackup.1", false, "vda.diff.1795399599.data", "Offline backup, using latest checkpoint"},
		"off: inc":        {situation{level: "inc", offline: true, content: chainFolder, checkpoints: twoPoints}, format.Diff, "virtnbdbackup.2", "virtnbdbackup.1", false, "vda.diff.1795399599.data", ""},
	} {
		p, log, err := planFor(t, c.s)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if p.level != c.level || p.checkpoint != c.checkpoint || p.parent != c.parent || p.creates != c.creates {
			t.Errorf("%s: %+v", name, p)
		}
		if got := p.saveset("vda", false); got != c.file {
			t.Errorf("%s: %s, want %s", name, got, c.file)
		}
		if !strings.Contains(log, c.says) {
			t.Errorf("%s: the log lacks %q: %s", name, c.says, log)
		}
	}
}

func TestPlanRefused(t *testing.T) {
	foreign := chainFolder
	foreign.partials = []string{"vda.inc.virtnbdbackup.2.data.partial"}
	for name, c := range map[string]struct {
		s    situation
		want string
	}{
		"inc without full":      {situation{level: "inc"}, "execute full backup first"},
		"inc over a copy":       {situation{level: "inc", content: copyFolder}, "execute full backup first"},
		"full again":            {situation{level: "full", content: chainFolder}, "already contains full or copy backup"},
		"copy again":            {situation{level: "copy", content: copyFolder}, "already contains full or copy backup"},
		"full beside copy":      {situation{level: "full", content: copyFolder}, "already contains full or copy backup"},
		"auto, unknown":         {situation{level: "auto", content: content{data: []string{"vda.inc.virtnbdbackup.1.data"}}}, "seems not to include full backup"},
		"auto, only a partial":  {situation{level: "auto", content: content{data: []string{"vda.full.data.partial"}, partials: []string{"vda.full.data.partial"}}}, "seems not to include full backup"},
		"a partial of somebody": {situation{level: "inc", content: foreign, checkpoints: twoPoints}, "Partial backup found in target directory"},
	} {
		if p, _, err := planFor(t, c.s); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	if _, _, err := planFor(t, situation{level: "full", content: chainFolder}); !errors.Is(err, errNotEmpty) {
		t.Errorf("not the error that callers know: %v", err)
	}
}

func TestMetadataOfWholeDisks(t *testing.T) {
	vda := disk{Disk: domainxml.Disk{Target: "vda", Format: "qcow2"}}
	whole := vda
	whole.whole = true
	for name, c := range map[string]struct {
		s                  situation
		d                  disk
		checkpoint, parent string
		incremental        bool
	}{
		"inc":           {situation{level: "inc", content: chainFolder, checkpoints: twoPoints}, vda, "virtnbdbackup.2", "virtnbdbackup.1", true},
		"whole in inc":  {situation{level: "inc", content: chainFolder, checkpoints: twoPoints}, whole, "virtnbdbackup.2", "", false},
		"diff":          {situation{level: "diff", content: chainFolder, checkpoints: twoPoints}, vda, "virtnbdbackup.2", "virtnbdbackup.1", true},
		"whole in diff": {situation{level: "diff", content: chainFolder, checkpoints: twoPoints}, whole, "diff.1795399599", "", false},
		"full":          {situation{level: "full"}, vda, "virtnbdbackup.0", "", false},
	} {
		p, _, err := planFor(t, c.s)
		if err != nil {
			t.Fatal(err)
		}
		m := p.metadata(c.d, 1<<20, 0)
		if m.CheckpointName != c.checkpoint || m.ParentCheckpoint != c.parent || m.Incremental != c.incremental || m.DiskName != "vda" || !m.Date.Equal(now) {
			t.Errorf("%s: %+v", name, m)
		}
	}
}
