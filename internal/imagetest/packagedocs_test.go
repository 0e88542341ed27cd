//go:build image

package imagetest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// checkDocs does on the machine what the documents tell to do there: the migrator by
// hand, and the timer's service that verifies the record of changes.
func (g *gateway) checkDocs(t *testing.T) {
	t.Helper()
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(Root(t), "docs", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	byHand := regexp.MustCompile(`(?m)^    systemd-run (?:.*\\\n)+.*$`).FindString(read("deploy-packages.md"))
	if out := g.try(byHand); byHand == "" || out.Code != 0 || !strings.Contains(out.Stdout, "/var/lib/sluice/sluice.db") || strings.Contains(out.Stdout, "pending") {
		t.Errorf("the migrator by hand: exit %d, %s", out.Code, out.Output())
	}

	_, unit, _ := strings.Cut(read("audit.md"), "    # /etc/systemd/system/sluice-audit.service\n")
	unit, _, found := strings.Cut(unit, "\n\n")
	if !found {
		t.Fatal("docs/audit.md has no sluice-audit.service")
	}
	const path = "/etc/systemd/system/sluice-audit.service"
	g.put(path, "0644", strings.ReplaceAll(unit, "    ", "")+"\n")
	if out := g.try("systemctl daemon-reload && systemctl start sluice-audit"); out.Code != 0 {
		t.Errorf("sluice-audit.service of docs/audit.md: %s\n%s", out.Output(), g.try("journalctl -u sluice-audit -n 20 --no-pager").Output())
	}
	g.sh("rm " + path + " && systemctl daemon-reload")
}
