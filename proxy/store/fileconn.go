package store

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// fileConn is a connection to a SQLite file that ships. It calls SQLite itself,
// past database/sql and its driver: they ask for the name of each parameter, copy
// each text into memory of its own and free it again, which for the forty values
// of a row takes as long as SQLite does (ADR 14). One goroutine uses it at a time.
type fileConn struct {
	tls        *libc.TLS
	db         uintptr
	statements map[string]*fileStmt
	arena      arena
	large      bool // it has the cache of a large batch
	contexts   contexts
}

// fileStmt is a prepared statement.
type fileStmt struct {
	handle uintptr
}

// cell is a value as SQLite takes it.
type cell struct {
	sort cellSort
	n    int64
	text string // of texts and blobs
}

type cellSort byte

const (
	cellNull cellSort = iota
	cellInt
	cellText
	cellBlob
)

// fileError is an error of SQLite.
type fileError struct {
	code int32 // extended
	text string
}

func (e *fileError) Error() string { return e.text + " (" + strconv.Itoa(int(e.code)) + ")" }

// openFileConn opens a connection with the settings of those of openSQLite. It
// has no mutex of SQLite's own: who uses it holds one.
func openFileConn(path string) (*fileConn, error) {
	c := &fileConn{tls: libc.NewTLS(), statements: map[string]*fileStmt{}}
	const handle = 8
	if err := c.arena.room(handle + len(path) + 1); err != nil {
		c.close()
		return nil, err
	}
	out, name := c.arena.put(string(make([]byte, handle))), c.arena.put(path+"\x00")
	const flags = sqlite3.SQLITE_OPEN_READWRITE | sqlite3.SQLITE_OPEN_NOMUTEX | sqlite3.SQLITE_OPEN_EXRESCODE
	rc := sqlite3.Xsqlite3_open_v2(c.tls, name, out, flags, 0)
	c.db = uintptr(binary.NativeEndian.Uint64(c.arena.memory))
	if rc != sqlite3.SQLITE_OK {
		err := c.failed(rc)
		c.close()
		return nil, err
	}
	sqlite3.Xsqlite3_busy_timeout(c.tls, c.db, int32(busyWait.Milliseconds()))
	for _, set := range []string{"PRAGMA synchronous = NORMAL", "PRAGMA foreign_keys = 1", smallCache} {
		if err := c.once(set); err != nil {
			c.close()
			return nil, err
		}
	}
	return c, nil
}

// A batch of many rows has pages that do not fit into the cache of a connection
// that is to be small: they would be written several times.
const (
	largeBatch = 500
	smallCache = "PRAGMA cache_size = -512"
	largeCache = "PRAGMA cache_size = -8192"
)

// size gives the connection the memory that a batch of so many rows needs, and
// takes it away again with the next small one.
func (c *fileConn) size(rows int) error {
	if large := rows >= largeBatch; large == c.large {
		return nil
	} else if c.large = large; large {
		return c.once(largeCache)
	}
	c.forget()
	c.arena.release()
	c.contexts.numbers = nil
	if err := c.once(smallCache); err != nil {
		return err
	}
	return c.once("PRAGMA shrink_memory")
}

func (c *fileConn) close() {
	c.forget()
	sqlite3.Xsqlite3_close_v2(c.tls, c.db)
	c.tls.Close()
	c.arena.release()
}

// forget finalizes what is prepared.
func (c *fileConn) forget() {
	for _, st := range c.statements {
		sqlite3.Xsqlite3_finalize(c.tls, st.handle)
	}
	clear(c.statements)
}

func (c *fileConn) failed(rc int32) error {
	if c.db == 0 {
		return &fileError{code: rc, text: "SQLite has no memory for a connection"}
	}
	return &fileError{code: rc, text: libc.GoString(sqlite3.Xsqlite3_errmsg(c.tls, c.db))}
}

// mostPrepared is how many statements are kept: those that insert rows differ by
// the columns that are the same in all of their rows.
const mostPrepared = 40

// prepare gives the statement that is known by a key; text makes it where it is
// not there.
func (c *fileConn) prepare(key string, text func() string) (*fileStmt, error) {
	if st := c.statements[key]; st != nil {
		return st, nil
	}
	if len(c.statements) >= mostPrepared {
		c.forget()
	}
	const handle = 8
	sql := text()
	if err := c.arena.room(handle + len(sql) + 1); err != nil {
		return nil, err
	}
	out, from := c.arena.put(string(make([]byte, handle))), c.arena.put(sql+"\x00")
	if rc := sqlite3.Xsqlite3_prepare_v2(c.tls, c.db, from, int32(len(sql)+1), out, 0); rc != sqlite3.SQLITE_OK {
		return nil, c.failed(rc)
	}
	st := &fileStmt{handle: uintptr(binary.NativeEndian.Uint64(c.arena.memory))}
	c.statements[key] = st
	return st, nil
}

// once runs a statement without values that is not kept.
func (c *fileConn) once(sql string) error {
	st, err := c.prepare(sql, func() string { return sql })
	if err != nil {
		return err
	}
	_, err = c.run(st, nil, nil)
	sqlite3.Xsqlite3_finalize(c.tls, st.handle)
	delete(c.statements, sql)
	return err
}

// run runs a statement to its end with the values of its parameters, and says how
// many rows it changed. The first column of each row that it gives goes to each,
// as a number.
func (c *fileConn) run(st *fileStmt, values []cell, each func(n int64)) (changed int64, err error) {
	if err := c.bind(st, values); err != nil {
		return 0, err
	}
	rc := sqlite3.Xsqlite3_step(c.tls, st.handle)
	for ; rc == sqlite3.SQLITE_ROW; rc = sqlite3.Xsqlite3_step(c.tls, st.handle) {
		if each != nil {
			each(sqlite3.Xsqlite3_column_int64(c.tls, st.handle, 0))
		}
	}
	if rc != sqlite3.SQLITE_DONE {
		err = c.failed(rc)
	} else {
		changed = int64(sqlite3.Xsqlite3_changes(c.tls, c.db))
	}
	sqlite3.Xsqlite3_reset(c.tls, st.handle) // its error is that of the step
	return changed, err
}

// bind hands all parameters over. What texts they hold lies in the arena until
// the next statement: SQLite reads it while the statement runs, and no parameter
// of another run stays.
func (c *fileConn) bind(st *fileStmt, values []cell) error {
	size := 1 // an empty text has an address too
	for i := range values {
		size += len(values[i].text)
	}
	if err := c.arena.room(size); err != nil {
		return err
	}
	for i := range values {
		v, rc, n := &values[i], int32(0), int32(i+1)
		switch v.sort {
		case cellNull:
			rc = sqlite3.Xsqlite3_bind_null(c.tls, st.handle, n)
		case cellInt:
			rc = sqlite3.Xsqlite3_bind_int64(c.tls, st.handle, n, v.n)
		case cellText:
			rc = sqlite3.Xsqlite3_bind_text(c.tls, st.handle, n, c.arena.put(v.text), int32(len(v.text)), 0)
		case cellBlob:
			rc = sqlite3.Xsqlite3_bind_blob(c.tls, st.handle, n, c.arena.put(v.text), int32(len(v.text)), 0)
		}
		if rc != sqlite3.SQLITE_OK {
			return c.failed(rc)
		}
	}
	return nil
}

// arena is memory for texts that SQLite reads: not of Go's heap, of which it may
// keep no addresses.
type arena struct {
	memory []byte
	used   int
}

// room empties the arena and makes room for so many bytes.
func (a *arena) room(size int) error {
	a.used = 0
	const least = 64 << 10
	if size <= len(a.memory) {
		return nil
	}
	to := least
	for to < size {
		to *= 2
	}
	memory, err := unix.Mmap(-1, 0, to, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return fmt.Errorf("memory to ship with: %w", err)
	}
	a.release()
	a.memory = memory
	return nil
}

// put copies a text, for which room has made room, and gives its address.
func (a *arena) put(s string) uintptr {
	at := uintptr(unsafe.Pointer(&a.memory[a.used]))
	a.used += copy(a.memory[a.used:], s)
	return at
}

func (a *arena) release() {
	if a.memory != nil {
		_ = unix.Munmap(a.memory) // it cannot fail for what Mmap gave
	}
	a.memory, a.used = nil, 0
}
