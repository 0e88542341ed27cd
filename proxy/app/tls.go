package app

import (
	"fmt"
	"io"
	"time"

	"sluice/internal/boot"
	"sluice/internal/certificate"
	"sluice/proxy/config"
	"sluice/supervisor/fleet"
)

// checkTLS reads the files of the TLS listeners before anything is bound. What
// only clients will mind is a warning.
func checkTLS(out io.Writer, file *config.File) error {
	if file.Server.TLSCert == "" {
		return nil
	}
	kept, err := certificate.Read(certificate.Files{Cert: file.Server.TLSCert, Key: file.Server.TLSKey, ClientCA: file.Server.TLSClientCA})
	if err != nil {
		return boot.Exit(fleet.ExitConfig, err)
	}
	if doubt := kept.Doubt(time.Now()); doubt != "" {
		_, err = fmt.Fprintf(out, "warning: %s\n", doubt)
	}
	return err
}
