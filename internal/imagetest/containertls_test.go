//go:build image

package imagetest

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/internal/certificate/certtest"
)

// TestContainerTLS: with TLS on both ports the image's HEALTHCHECK knows it by
// itself, and `helm test` can ask a pod whose certificate names another host.
func TestContainerTLS(t *testing.T) {
	dir := filepath.Join(RunDir(), "tls")
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	certtest.New(t).Issue(t, 7, -time.Hour, time.Hour, cert, key)
	for _, path := range []string{RunDir(), dir, cert, key} { // for the container's user
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	args := append([]string{}, boxOptions...)
	args = append(args, "--health-interval", "1s", "-v", boxVolume(t)+":/var/lib/sluice", "-v", dir+":/tls:ro",
		"-e", "SSL_CERTFILE_PATH=/tls/tls.crt", "-e", "SSL_KEYFILE_PATH=/tls/tls.key", "-e", "SLUICE_HEALTH_TLS=true", boxImage(t))
	g := StartContainer(t, args...)
	Wait(t, "the engine to find it healthy", 60*time.Second, func() error {
		s := g.State()
		if !s.Running {
			t.Fatalf("the container ended with %d:\n%s", s.ExitCode, tail(g.Logs(), 4000))
		}
		if s.Health == nil || s.Health.Status != "healthy" {
			return fmt.Errorf("it says %+v", s.Health)
		}
		return nil
	})
	if status, body, err := boxGet("http://" + g.IP() + ":4001/health/liveliness"); err == nil && status == http.StatusOK {
		t.Errorf("port 4001 answers in plain text: %s", body)
	}
	ready := "https://" + g.IP() + ":4000/health/readiness" // no name of the certificate
	if r := DockerCommand(t, "exec", g.ID, "healthd", "probe", "--url", ready).Try(t); r.Code == 0 || !strings.Contains(r.Output(), "x509") {
		t.Errorf("a probe takes a certificate of anyone: %s", r.Output())
	}
	g.Exec("healthd", "probe", "--insecure", "--url", ready)
}
