package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"sluice/internal/boot"
	"sluice/internal/env"
	"sluice/internal/postgres/pgtest"
	"sluice/migrator/schema"
	"sluice/supervisor/fleet"
)

// TestRun goes through commands, environment and exit codes as an operator
// meets them.
func TestRun(t *testing.T) {
	url := pgtest.Database(t)
	dir := t.TempDir()
	flat := filepath.Join(dir, "a")
	tests := []struct {
		name string
		args []string
		vars map[string]string
		code int
		say  string
	}{
		{"check before", []string{"check", "--state_dir", flat}, nil, fleet.ExitFailed, fmt.Sprintf("%d migrations are pending", schema.Version)},
		{"left to another", []string{"--state_dir", flat}, map[string]string{"DISABLE_SCHEMA_UPDATE": "true"}, fleet.ExitOK, "DISABLE_SCHEMA_UPDATE"},
		{"still pending", []string{"check", "--state_dir", flat}, nil, fleet.ExitFailed, "pending"},
		{"up is the default", []string{"--state_dir", flat}, map[string]string{"LITELLM_MIGRATION_DIR": "/x", "USE_PRISMA_MIGRATE": "True"}, fleet.ExitOK, "migration applied"},
		{"check after", []string{"check", "--state_dir", flat}, nil, fleet.ExitOK, fmt.Sprintf("schema %d, nothing pending", schema.Version)},
		{"status", []string{"status"}, map[string]string{fleet.EnvStateDir: flat}, fleet.ExitOK, "00001_identity_and_money.sql"},
		{"postgres by the environment", []string{"up"}, map[string]string{"DATABASE_URL": url}, fleet.ExitOK, "migration applied"},
		{"direct URL first", []string{"check"}, map[string]string{"DATABASE_URL": "postgres://127.0.0.1:1/pooled", "DIRECT_URL": url}, fleet.ExitOK, "nothing pending"},
		{"flag first", []string{"check", "--database_url", url}, map[string]string{"DIRECT_URL": "postgres://127.0.0.1:1/x"}, fleet.ExitOK, "nothing pending"},
		{"away", []string{"up"}, map[string]string{"DATABASE_URL": "postgres://u:hunter2@127.0.0.1:1/x"}, fleet.ExitTryAgain, "check that PostgreSQL runs"},
		{"bad URL", []string{"up"}, map[string]string{"DATABASE_URL": "postgres://u:hunter2/x@h/d"}, fleet.ExitConfig, "%2F"},
		{"unknown flag", []string{"up", "--nonsense"}, nil, fleet.ExitUsage, "nonsense"},
		{"bad value", []string{"up", "--state_dir", flat}, map[string]string{"DISABLE_SCHEMA_UPDATE": "perhaps"}, fleet.ExitConfig, "DISABLE_SCHEMA_UPDATE"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			p := &boot.Process{
				Program: "migrator", Args: tt.args, Environ: (&env.Environ{}).With(tt.vars), Stdout: &out, Stderr: &out,
			}
			code := boot.Report(p, run(p))
			if code != tt.code || !strings.Contains(out.String(), tt.say) {
				t.Errorf("exit %d, want %d, output without %q:\n%s", code, tt.code, tt.say, out.String())
			}
			if strings.Contains(out.String(), "hunter2") {
				t.Errorf("the password is shown:\n%s", out.String())
			}
		})
	}
}
