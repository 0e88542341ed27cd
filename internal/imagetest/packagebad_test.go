//go:build image

package imagetest

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestPackageBadInput: what an operator can get wrong ends the start with 78 and
// one line that says how to mend it, and systemd leaves it at that; what may pass
// by itself is tried again, and less often each time.
func TestPackageBadInput(t *testing.T) {
	g := install(t, buildPackage(t, packageSpec{version: "1.0.0"}), "")
	for _, c := range []struct {
		name, bend, mend string
		says             []string
	}{
		{
			"a state directory that cannot be written",
			"chown root:root /var/lib/sluice/run", "chown sluice:sluice /var/lib/sluice/run",
			[]string{"state directory /var/lib/sluice cannot be written", "chown "},
		},
		{
			"a port that is taken",
			"systemd-run -q --unit=holder systemd-socket-activate -l 4000 /bin/true", "systemctl stop holder",
			[]string{"port 4000 is taken", "held by "},
		},
		{
			"a secret that others can read",
			"cp /etc/sluice/credentials/openai_api_key /etc/sluice/key && chmod 644 /etc/sluice/key && echo OPENAI_API_KEY_FILE=/etc/sluice/key >>/etc/sluice/environment",
			"chgrp sluice /etc/sluice/key && chmod 640 /etc/sluice/key",
			[]string{"OPENAI_API_KEY", "/etc/sluice/key has mode 0644", "chmod o="},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			g.sh("systemctl stop sluice")
			g.sh(c.bend)
			mark := g.sh("date +%s.%N")
			if r := g.try("systemctl start sluice"); r.Code == 0 {
				t.Error("it starts")
			}
			time.Sleep(time.Second) // ten times the pause of systemd
			if got := g.sh("systemctl show sluice -P ExecMainStatus -P NRestarts -P ActiveState | tr '\\n' ' '"); !sameWords(got, "78 0 failed") {
				t.Errorf("exit, restarts, state: %s", got)
			}
			log := g.sh("journalctl --no-pager -o cat --since @" + mark + " _COMM=supervisor + _COMM=proxy + SYSLOG_IDENTIFIER=supervisor")
			lines := 0
			for line := range strings.Lines(log) {
				if strings.Contains(line, c.says[0]) {
					lines++
				}
			}
			if lines != 1 || strings.Contains(log, "sk-") {
				t.Errorf("%d lines say so:\n%s", lines, log)
			}
			for _, want := range c.says {
				if !strings.Contains(log, want) {
					t.Errorf("nothing says %q:\n%s", want, log)
				}
			}
			g.sh(c.mend)
			g.sh("systemctl start sluice")
			g.awaitVersion("1.0.0")
		})
	}
	t.Run("a start that fails at once", func(t *testing.T) { startFails(t, g) })
	t.Run("a program that cannot be executed", func(t *testing.T) { notExecuted(t, g) })
}

// startFails: the supervisor waits before a start that follows failed ones,
// longer each time, and says so.
func startFails(t *testing.T, g *gateway) {
	g.sh("systemctl stop sluice && chmod 0 /usr/lib/sluice/current/proxy && systemctl start --no-block sluice")
	began := time.Now()
	Wait(t, "a pause that is told", 20*time.Second, func() error {
		if got := g.sh("systemctl show sluice -P StatusText"); !strings.Contains(got, "waiting 3.2s: the last 6 starts failed") {
			return fmt.Errorf("status %q", got)
		}
		return nil
	})
	restarts, err := strconv.Atoi(g.sh("systemctl show sluice -P NRestarts"))
	if took := time.Since(began); err != nil || restarts != 6 || took < 3*time.Second {
		t.Errorf("%d restarts in %v, %v; want 6 in more than 3 s", restarts, took, err)
	}
	g.sh("chmod 755 /usr/lib/sluice/current/proxy")
	g.awaitVersion("1.0.0") // by itself
}

// notExecuted: what systemd cannot even execute is tried again every five
// seconds, and a stop does not wait for long.
func notExecuted(t *testing.T, g *gateway) {
	g.sh("systemctl stop sluice && chmod 644 /usr/lib/sluice/current/supervisor")
	g.try("systemctl start sluice")
	time.Sleep(7 * time.Second)
	status, restarts := g.sh("systemctl show sluice -P ExecMainStatus"), g.sh("systemctl show sluice -P NRestarts")
	if n, err := strconv.Atoi(restarts); err != nil || status != "203" || n < 1 || n > 2 {
		t.Errorf("exit %s, %s restarts in 7 s; want 203, and one or two", status, restarts)
	}
	began := time.Now()
	g.sh("systemctl stop sluice")
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("the stop took %v", took)
	}
	if got := g.sh("systemctl show sluice -P ActiveState"); got != "failed" && got != "inactive" {
		t.Errorf("after the stop it is %s", got)
	}
	g.try("systemctl start sluice")
	g.sh("chmod 755 /usr/lib/sluice/current/supervisor")
	g.awaitVersion("1.0.0") // by itself
}

// sameWords tells whether two texts have the same words, in any order: systemctl
// prints properties in an order of its own.
func sameWords(a, b string) bool {
	count := map[string]int{}
	for _, w := range strings.Fields(a) {
		count[w]++
	}
	for _, w := range strings.Fields(b) {
		count[w]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}
