//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/benchmarks/loadgen"
	"sluice/internal/fakeprovider"
	"sluice/supervisor/fleet"
)

// generation is a configuration whose parts all carry its number: the path and
// the key of each deployment. The first of the two of "again" fails after a
// while, so that a request spans reloads.
func generation(p *fakeprovider.Provider, n int) string {
	base := func(script string) string { return p.URL(fmt.Sprintf("%s,gen=%d", script, n)) }
	return fmt.Sprintf(`model_list:
  - model_name: whole
    litellm_params: {model: openai/x, api_key: key-%[1]d, api_base: %[2]q}
  - model_name: stream
    litellm_params: {model: openai/x, api_key: key-%[1]d, api_base: %[3]q}
  - model_name: again
    litellm_params: {model: openai/x, api_key: key-%[1]d, api_base: %[4]q, order: 1}
  - model_name: again
    litellm_params: {model: openai/x, api_key: key-%[1]d, api_base: %[2]q, order: 2}
general_settings: {master_key: %[5]s}
`, n, base("ok"), base("ok,n=20-60,every=10ms"), base("slow,for=300ms/s503"), MasterKey)
}

// bad configurations, with the place that the log must name.
var badConfigs = []struct{ name, text, says string }{
	{"syntax", "model_list: [\n", "config.yaml"},
	{"types", "model_list:\n  - model_name: 3\n    litellm_params: []\n", "config.yaml:3"},
	{"no list", "model_list: 7\n", "config.yaml:1"},
}

// Reloads under load, half of them of bad files: no request fails, each sees
// one generation of the configuration, and the last good file is the one in
// force.
func TestReload(t *testing.T) {
	p, err := fakeprovider.New(fakeprovider.Config{Ledger: 1 << 20, Raw: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	a := boot(t, Options{Config: generation(p, 0), Env: quietly})
	shape := fakeprovider.DefaultShape
	script, err := fakeprovider.ParseScript("ok,n=20-60,every=10ms")
	if err != nil {
		t.Fatal(err)
	}
	whole := func(model string) func(dst []byte, id string) []byte {
		return func(dst []byte, id string) []byte { return append(dst, shape.Whole(id, model)...) }
	}
	load := StartLoad(t, loadgen.Spec{
		Addr: a.Addr(), Key: a.Key, Model: "whole", Duration: 10 * time.Minute, Timeout: 30 * time.Second,
		Classes: []loadgen.Class{
			{Name: "kept", Conns: 40, Rate: 200, Expect: whole("whole")},
			{Name: "new", Fresh: true, Rate: 20, Expect: whole("whole")},
			// So few that each may be tried again: a group has a budget for that.
			{Name: "again", Fresh: true, Rate: 1.2, Model: "again", Expect: whole("again")},
			{Name: "stream", Conns: 10, Stream: true, Model: "stream", Expect: func(dst []byte, id string) []byte {
				return append(dst, script.Shape.Stream(id, "stream", false)...)
			}},
		},
	})
	before := a.MustStatus().Config
	hups, every := length(200, 1000), length(50*time.Millisecond, 100*time.Millisecond)
	tick := time.NewTicker(every)
	defer tick.Stop()
	last := 0
	for i := range hups {
		<-tick.C
		if i%2 == 0 {
			a.WriteConfig(badConfigs[i/2%len(badConfigs)].text)
		} else {
			last = i
			a.WriteConfig(generation(p, i))
		}
		a.Signal(syscall.SIGHUP)
	}
	// Whatever has coalesced, the last file is in force in the end.
	a.WaitStatus(10*time.Second, "rid of open reloads", func(fleet.Status) bool {
		r, err := a.Chat(`{"model":"whole","messages":[],"user":"last"}`)
		if err != nil || r.Status != 200 {
			t.Fatalf("%v %+v", err, r)
		}
		e := p.Ledger().Of("last")
		return strings.Contains(e[len(e)-1].Path, fmt.Sprintf("gen=%d/", last))
	})
	after := a.MustStatus().Config
	report := load.Stop()
	applied, rejected := after.Applied-before.Applied, after.Rejected-before.Rejected
	t.Logf("show 5: %d HUPs, one every %v: %d applied, %d refused", hups, every, applied, rejected)
	NoneFailed(t, report)
	if least := uint64(length(10, 50)); applied < least || rejected < least {
		t.Errorf("%d applied and %d refused, want %d of each at least", applied, rejected, least)
	}
	seen, crossed := oneGeneration(t, p.Ledger().All())
	t.Logf("show 5: requests saw %d generations; %d calls were tried again within theirs", seen, crossed)
	if seen < length(10, 50) || crossed == 0 {
		t.Error("the load has not seen enough generations to prove anything")
	}

	// A bad file changes nothing and says why.
	for _, bad := range badConfigs {
		before := a.MustStatus().Config
		from := len(a.Log())
		a.WriteConfig(bad.text)
		a.Signal(syscall.SIGHUP)
		s := a.WaitStatus(10*time.Second, "a refused configuration", func(s fleet.Status) bool { return s.Config.Rejected > before.Rejected })
		if s.Config.Applied != before.Applied || s.Config.Rejected != before.Rejected+1 {
			t.Errorf("%s: %+v, before %+v", bad.name, s.Config, before)
		}
		if log := a.Log()[from:]; !strings.Contains(log, bad.says) || !strings.Contains(log, "refused") {
			t.Errorf("%s: the log does not say %q:\n%s", bad.name, bad.says, log)
		}
		for range 8 {
			if r, err := a.Chat(`{"model":"whole","messages":[],"user":"after"}`); err != nil || r.Status != 200 {
				t.Errorf("%s: %v %+v", bad.name, err, r)
			}
		}
	}
	for _, e := range p.Ledger().Of("after") {
		if !strings.Contains(e.Path, fmt.Sprintf("gen=%d/", last)) {
			t.Errorf("after bad files a request went to %s", e.Path)
		}
	}
}

var (
	pathGeneration = regexp.MustCompile(`gen=(\d+)`)
	keyGeneration  = regexp.MustCompile(`key-(\d+)`)
)

// oneGeneration checks that all that is known of each request carries the same
// number. It returns how many generations were seen, and how many requests had
// more than one attempt.
func oneGeneration(t *testing.T, entries []fakeprovider.Entry) (seen, tried int) {
	t.Helper()
	of, all := map[string]string{}, map[string]bool{}
	mixed := 0
	for _, e := range entries {
		if e.ID == "last" {
			continue
		}
		path, key := pathGeneration.FindStringSubmatch(e.Path), keyGeneration.FindSubmatch(e.Head)
		if path == nil || key == nil {
			t.Fatalf("no generation in %s %s", e.Path, e.Head)
		}
		all[path[1]] = true
		if old, again := of[e.ID]; again {
			tried++
			if old != path[1] {
				mixed++
			}
		}
		of[e.ID] = path[1]
		if path[1] != string(key[1]) {
			mixed++
		}
	}
	if mixed > 0 {
		t.Errorf("%d requests saw two generations of the configuration", mixed)
	}
	return len(all), tried
}

// TestReload's judge sees a mixture when there is one.
func TestReloadKnownBad(t *testing.T) {
	entry := func(id, path, key string) fakeprovider.Entry {
		return fakeprovider.Entry{ID: id, Path: "/" + path + "/v1", Head: []byte("Authorization: Bearer " + key)}
	}
	for _, bad := range [][]fakeprovider.Entry{
		{entry("1", "gen=1", "key-1"), entry("1", "gen=2", "key-2")},
		{entry("1", "gen=1", "key-2")},
	} {
		judged := &testing.T{}
		oneGeneration(judged, bad)
		if !judged.Failed() {
			t.Errorf("not noticed: %v", bad)
		}
	}
}

// HUP takes a new certificate into use; a bad one changes nothing, not even
// the rest of the configuration.
func TestReloadTLS(t *testing.T) {
	p := fakeprovider.Start(t)
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, cert, key, 1)
	a := boot(t, Options{
		Config: generation(p, 1), Env: quietly,
		Args: []string{"--ssl_certfile_path", cert, "--ssl_keyfile_path", key},
	})
	old, err := tls.Dial("tcp", a.Addr(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	kept := &keptConn{old, bufio.NewReader(old)}
	if err := kept.ask(a.Key, "whole"); err != nil {
		t.Fatal(err)
	}
	load := StartLoad(t, loadgen.Spec{
		Addr: a.Addr(), TLS: &tls.Config{InsecureSkipVerify: true}, Key: a.Key, Model: "whole", Duration: time.Minute,
		Classes: []loadgen.Class{{Name: "new", Fresh: true, Rate: 20}, {Name: "kept", Conns: 4, Think: 100 * time.Millisecond}},
	})
	if n := serial(t, a); n != 1 {
		t.Errorf("certificate %d, want 1", n)
	}
	hup := func(what string, ok func(s, before fleet.ConfigStatus) bool) {
		t.Helper()
		before := a.MustStatus().Config
		a.Signal(syscall.SIGHUP)
		a.WaitStatus(10*time.Second, what, func(s fleet.Status) bool { return ok(s.Config, before) })
	}
	applied := func(s, before fleet.ConfigStatus) bool { return s.Applied > before.Applied }
	refused := func(s, before fleet.ConfigStatus) bool { return s.Rejected > before.Rejected }

	writeCertificate(t, cert, key, 2)
	hup("a new certificate", applied)
	if n := serial(t, a); n != 2 {
		t.Errorf("certificate %d after the reload, want 2", n)
	}
	writeCertificate(t, cert, filepath.Join(dir, "other.pem"), 3) // does not fit its key
	a.WriteConfig(generation(p, 2))
	hup("a bad certificate", refused)
	if n := serial(t, a); n != 2 {
		t.Errorf("certificate %d after a bad one, want 2", n)
	}
	p.Ledger().Reset()
	if err := kept.ask(a.Key, "whole"); err != nil {
		t.Errorf("connection of before: %v", err)
	}
	for _, e := range p.Ledger().All() {
		if !strings.Contains(e.Path, "gen=1/") {
			t.Errorf("half of a refused reload is in force: %s", e.Path)
		}
	}
	writeCertificate(t, cert, key, 4)
	if err := os.WriteFile(a.ConfigFile, []byte("model_list: [\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	hup("a bad file beside a good certificate", refused)
	if n := serial(t, a); n != 2 {
		t.Errorf("certificate %d after a bad file, want 2", n)
	}
	a.WriteConfig(generation(p, 5))
	hup("both good", applied)
	if n := serial(t, a); n != 4 {
		t.Errorf("certificate %d, want 4", n)
	}
	NoneFailed(t, load.Stop())
}

// serial is the number of the certificate that the appliance shows, the same
// on each of several connections.
func serial(t *testing.T, a *Appliance) int64 {
	t.Helper()
	var first *big.Int
	for range 8 {
		c, err := tls.Dial("tcp", a.Addr(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		n := c.ConnectionState().PeerCertificates[0].SerialNumber
		_ = c.Close()
		if first == nil {
			first = n
		}
		if first.Cmp(n) != 0 {
			t.Errorf("workers show certificates %v and %v", first, n)
		}
	}
	return first.Int64()
}

func writeCertificate(t *testing.T, certFile, keyFile string, number int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(number), Subject: pkix.Name{CommonName: "sluice"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pk, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: pk},
	} {
		var b bytes.Buffer
		if err := pem.Encode(&b, block); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
