package postgres

import (
	"sync/atomic"

	"github.com/jackc/pgx/v5"
)

// login is the password in use, shared by all copies of a source. It is empty
// until another one than that of the first reading is in use.
type login struct{ password atomic.Pointer[string] }

// Renew takes the password of another reading of the same source, for every
// connection that is made from now on; those that are there stay. It reports
// false, and takes nothing, where user, hosts or database are others: that
// needs a pool of its own.
func (s *Source) Renew(read *Source) bool {
	if s.String() != read.String() {
		return false
	}
	password, was := read.settings["password"], s.settings["password"]
	if now := s.login.password.Load(); now != nil {
		was = *now
	}
	if password != was {
		s.login.password.Store(&password)
	}
	return true
}

// use puts the password in use into the configuration of one connection.
func (l *login) use(c *pgx.ConnConfig) {
	if password := l.password.Load(); password != nil {
		c.Password = *password
	}
}
