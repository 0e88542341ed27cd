package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"time"

	"sluice/proxy/bill"
)

// rowContext is what many calls have in common: a row of spend_contexts. A call
// for which no deployment was chosen has no model here: it was named by a client
// and may be any.
type rowContext struct {
	errorKind, callType, token, user, team, organization, project string
	model, modelID, provider, providerModel, host                 string
	httpStatus                                                    int
	price                                                         int64
	status                                                        bill.Status
	streamed, estimated, cacheHit                                 bool
}

func contextOf(r *bill.Attempt) rowContext {
	c := rowContext{
		errorKind: r.ErrorKind, callType: r.CallType, token: r.Token, user: r.User, team: r.Team, organization: r.Organization, project: r.Project,
		modelID: r.ModelID, provider: r.Provider, providerModel: r.ProviderModel, host: r.Host,
		httpStatus: r.HTTPStatus, price: r.Price, status: r.Status, streamed: r.Streamed, estimated: r.Usage.Estimated, cacheHit: r.CacheHit,
	}
	if r.ModelID != "" {
		c.model = r.Model
	}
	return c
}

// contextColumns are the columns of spend_contexts that cells fills, in their
// order.
const contextColumns = "status, http_status, error_kind, call_type, streamed, token, user_id, team_id, organization_id, project_id, " +
	"model, model_id, provider, provider_model, estimated, price_version, cache_hit, host"

func (c *rowContext) cells(dst []cell) []cell {
	text := func(s string) cell { return cell{sort: cellText, text: kept(s)} }
	number := func(n int64) cell { return cell{sort: cellInt, n: n} }
	truth := func(is bool) cell {
		if is {
			return number(1)
		}
		return number(0)
	}
	return append(dst, text(c.status.String()), number(int64(c.httpStatus)), text(c.errorKind), text(c.callType), truth(c.streamed),
		text(c.token), text(c.user), text(c.team), text(c.organization), text(c.project), text(c.model), text(c.modelID), text(c.provider),
		text(c.providerModel), truth(c.estimated), number(c.price), truth(c.cacheHit), text(c.host))
}

// owned is a copy that keeps nothing of a batch's memory.
func (c rowContext) owned() rowContext {
	for _, s := range []*string{
		&c.errorKind, &c.callType, &c.token, &c.user, &c.team, &c.organization, &c.project, &c.model, &c.modelID, &c.provider, &c.providerModel, &c.host,
	} {
		*s = strings.Clone(*s)
	}
	return c
}

// contextDigest tells contexts apart: 128 bits of the SHA-256 of the columns, each
// with its length.
func contextDigest(cells []cell) string {
	var buf []byte
	for i := range cells {
		buf = binary.AppendVarint(buf, cells[i].n)
		buf = binary.AppendUvarint(buf, uint64(len(cells[i].text)))
		buf = append(buf, cells[i].text...)
	}
	sum := sha256.Sum256(buf)
	return string(sum[:16])
}

// contexts are the numbers of contexts that a connection has met.
type contexts struct {
	numbers map[rowContext]*contextNumber
	rows    int64 // of spend_contexts
	top     int64 // the highest number
	deleted int64 // meta's counter
}

// contextNumber is a context in the database.
type contextNumber struct {
	id   int64
	last [16]byte // its last_request_id, zero: not known
}

const (
	// metaContextsDeleted counts deleted contexts, by a trigger.
	metaContextsDeleted = "spend_contexts_deleted"
	// mostRemembered is how many contexts a connection remembers: some 600 bytes
	// each.
	mostRemembered = 8192
	// mostContexts is how many there may be in a database: rows that would need more
	// are written as a whole.
	mostContexts = 100_000
	// contextAhead is how far a context is promised ahead of the newest call that
	// names it, so that the promise is renewed once in that time.
	contextAhead = time.Hour
)

// number reads one number, 0 where there is none.
func (t *fileShip) number(sql string, values ...cell) (out int64, err error) {
	st, err := t.conn.prepare(sql, func() string { return sql })
	if err != nil {
		return 0, shipError(err)
	}
	_, err = t.conn.run(st, values, func(n int64) { out = n })
	return out, shipError(err)
}

// remember forgets what the connection knows of contexts where others have deleted
// or made some since: a number may be that of another one, or of none, and rows
// that name none are not seen.
func (t *fileShip) remember() error {
	deleted, err := t.number("SELECT CAST(value AS INTEGER) FROM meta WHERE name = '" + metaContextsDeleted + "'")
	if err != nil {
		return err
	}
	top, err := t.number("SELECT max(context_id) FROM spend_contexts") // NULL is 0
	if err != nil {
		return err
	}
	known := &t.conn.contexts
	if known.numbers != nil && known.deleted == deleted && known.top == top {
		return nil
	}
	known.numbers, known.deleted, known.top = map[rowContext]*contextNumber{}, deleted, top
	known.rows, err = t.number("SELECT count(*) FROM spend_contexts")
	return err
}

// context is the number of a row's context, made where there is none; 0 where
// there is no room for more.
func (t *fileShip) context(r *bill.Attempt) (int64, error) {
	known, c := &t.conn.contexts, contextOf(r)
	n := known.numbers[c]
	if n == nil {
		id, err := t.findContext(&c, &r.RequestID)
		if err != nil || id == 0 {
			return 0, err
		}
		if len(known.numbers) >= mostRemembered {
			clear(known.numbers)
		}
		n = &contextNumber{id: id}
		known.numbers[c.owned()] = n
	}
	if bytes.Compare(r.RequestID[:], n.last[:]) > 0 {
		last := ahead(&r.RequestID)
		_, err := t.run("UPDATE spend_contexts SET last_request_id = max(last_request_id, ?) WHERE context_id = ?",
			[]cell{{sort: cellBlob, text: string(last[:])}, {sort: cellInt, n: n.id}})
		if err != nil {
			return 0, err
		}
		n.last = last
	}
	return n.id, nil
}

func (t *fileShip) findContext(c *rowContext, id *[16]byte) (int64, error) {
	cells := c.cells(make([]cell, 0, 20))
	digest := cell{sort: cellBlob, text: contextDigest(cells)}
	n, err := t.number("SELECT context_id FROM spend_contexts WHERE digest = ?", digest)
	if err != nil || n != 0 || t.conn.contexts.rows >= t.mostContexts {
		return n, err
	}
	const columns = "last_request_id, digest, " + contextColumns
	sql := "INSERT INTO spend_contexts (" + columns + ") VALUES (?" + strings.Repeat(", ?", strings.Count(columns, ",")) + ") RETURNING context_id"
	n, err = t.number(sql, append([]cell{{sort: cellBlob, text: string(id[:])}, digest}, cells...)...)
	if err == nil {
		t.conn.contexts.rows++
		t.conn.contexts.top = max(t.conn.contexts.top, n)
	}
	return n, err
}

// ahead is an id behind all of the hour that follows a request: ids are UUIDv7.
func ahead(id *[16]byte) (out [16]byte) {
	millis := binary.BigEndian.Uint64(id[:8])>>16 + uint64(contextAhead.Milliseconds())
	if millis >= 1<<48 { // ids of no clock
		millis = 1<<48 - 1
	}
	for i := range out {
		out[i] = 0xff
	}
	binary.BigEndian.PutUint64(out[:8], millis<<16|0xffff)
	return out
}
