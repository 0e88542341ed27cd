package admin

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/store"
)

// longestList is how many objects a list without pages holds at most: an answer
// is built in memory.
const longestList = 10_000

// objects is what can be listed.
type objects[T any] interface {
	*T
	identity.Object
}

// listed reads a list that LiteLLM answers whole: all of it, or the page that
// the query asks for. size is the name of the parameter for a page's size.
func listed[T any, P objects[T]](a *API, c *Call, size string, where []store.Cond, q store.Query) ([]*T, *llm.Error) {
	q.Where, q.Order, q.Limit = where, cmp.Or(q.Order, "created_at"), longestList+1
	if paged := c.Arg("page") != "" || c.Arg(size) != ""; paged {
		q.Limit = c.ArgInt(size, 100)
		q.Offset = (c.ArgInt("page", 1) - 1) * q.Limit
	}
	found, err := store.Find[T, P](c.Ctx, a.c.Store, q)
	if err != nil {
		return nil, a.failed(err)
	}
	if len(found) > longestList {
		return nil, badRequest(fmt.Sprintf("The list has more than %d entries. Ask for its pages with page and %s.", longestList, size), "page")
	}
	return found, nil
}

// counted reads one page of the objects that a query names, and how many there
// are.
func counted[T any, P objects[T]](a *API, c *Call, q store.Query) ([]*T, int, *llm.Error) {
	total, err := store.Count[T, P](c.Ctx, a.c.Store, q.Where...)
	if err != nil {
		return nil, 0, a.failed(err)
	}
	found, err := store.Find[T, P](c.Ctx, a.c.Store, q)
	return found, total, a.failed(err)
}

// several are the objects that a body names. All changes of the cluster wait for
// one another, so one call may be about so many and no more.
func several(b Body, name, what string) ([]string, *llm.Error) {
	ids := b.Texts(name)
	return ids, countOf(len(ids), name, what)
}

// countOf refuses none, and too many for one call.
func countOf(n int, name, what string) *llm.Error {
	if n > 0 && n <= bulkLimit {
		return nil
	}
	return badRequest(fmt.Sprintf("%s must name 1 to %d %s; %d were received.", name, bulkLimit, what, n), name)
}

// changeSettings is change for what proxy admins alone may write. Whether the
// caller still is one is asked where it cannot change any more.
func (a *API) changeSettings(c *Call, fn func(tx *store.Tx) *llm.Error) *llm.Error {
	return a.change(c, func(tx *store.Tx) *llm.Error {
		if e := c.May(access.SettingsWrite, access.Target{}); e != nil {
			return e
		}
		return fn(tx)
	})
}

// text is a JSON text; "" for anything else.
func text(raw json.RawMessage) (s string) {
	_ = json.Unmarshal(raw, &s)
	return s
}

// texts is a JSON list of texts; nil for anything else.
func texts(raw json.RawMessage) (s []string) {
	if json.Unmarshal(raw, &s) != nil {
		return nil
	}
	return s
}

// quoted is a text as JSON.
func quoted(v any) json.RawMessage {
	raw, err := json.Marshal(v)
	if err != nil {
		panic("BUG: a setting is no JSON: " + err.Error())
	}
	return raw
}

// newID makes an id: a random UUID.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
