package main

import (
	"sluice/internal/env"
	"sluice/internal/postgres"
)

// workersRole is the role that the workers connect as, where it may be another
// one than the migrator's: DIRECT_URL is for the migrator alone. It is "" where
// they use the same URL, or where a flag names a database that the environment
// may know nothing of.
func workersRole(e *env.Environ, args cli) string {
	get := func(name string) string {
		secret, err := e.Secret(name)
		if err != nil {
			return "" // findTarget has told
		}
		return secret.Reveal()
	}
	if args.DatabaseURL != "" || get("DIRECT_URL") == "" {
		return ""
	}
	source, found, err := postgres.FromEnviron(get, false)
	if err != nil || !found {
		return ""
	}
	return source.User()
}
