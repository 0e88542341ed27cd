package admin

import (
	"errors"
	"fmt"
	"regexp"

	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/store"
)

// jwtMappingHandlers are the handlers of proxy/access/jwt_mappings.go.
func jwtMappingHandlers() map[string]handler {
	return map[string]handler{
		"POST /jwt/key/mapping/new":    (*API).newJWTMapping,
		"POST /jwt/key/mapping/update": (*API).updateJWTMapping,
		"POST /jwt/key/mapping/delete": (*API).deleteJWTMapping,
		"GET /jwt/key/mapping/info":    (*API).jwtMappingInfo,
		"GET /jwt/key/mapping/list":    (*API).listJWTMappings,
	}
}

// jwtMappingRow is a mapping as its routes answer it. The digest of the key is
// not told.
type jwtMappingRow struct {
	ID          string  `json:"id"`
	Issuer      *string `json:"jwt_issuer"`
	ClaimName   string  `json:"jwt_claim_name"`
	ClaimValue  string  `json:"jwt_claim_value"`
	Description *string `json:"description"`
	Active      bool    `json:"is_active"`
	CreatedAt   isoZ    `json:"created_at"`
	CreatedBy   *string `json:"created_by"`
	UpdatedAt   isoZ    `json:"updated_at"`
	UpdatedBy   *string `json:"updated_by"`
}

func jwtMappingOf(m *identity.JWTMapping) jwtMappingRow {
	return jwtMappingRow{
		ID: m.ID, Issuer: null(m.Issuer), ClaimName: m.ClaimName, ClaimValue: m.ClaimValue, Description: null(m.Description), Active: m.Active,
		CreatedAt: isoZ(m.CreatedAt), CreatedBy: null(m.CreatedBy), UpdatedAt: isoZ(m.UpdatedAt), UpdatedBy: null(m.UpdatedBy),
	}
}

var tokenForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// mappedKey is the digest of the key that the body names; "" where it names none.
func (a *API) mappedKey(c *Call, tx *store.Tx) (string, *llm.Error) {
	key, token := c.Body.Text("key"), c.Body.Text("token")
	switch {
	case key == "" && token == "":
		return "", nil
	case key != "" && token != "":
		return "", badRequest("Send either key, the key itself, or token, its digest, not both.", "key")
	case key != "":
		token = digestOfKey(key)
	case !tokenForm.MatchString(token):
		return "", badRequest("token must be the digest of a key: 64 lower-case hexadecimal digits. Send the key itself as key.", "token")
	}
	_, err := store.Get[identity.Key](c.Ctx, tx, token)
	if missing(err) {
		return "", notFound("The key that the mapping should stand for does not exist.", "key")
	}
	return token, a.failed(err)
}

func mappingTaken(m *identity.JWTMapping) *llm.Error {
	issuer := "any issuer"
	if m.Issuer != "" {
		issuer = "the issuer " + m.Issuer
	}
	return conflict(fmt.Sprintf("The value %q of the claim %s of %s has a mapping already.", m.ClaimValue, m.ClaimName, issuer), "jwt_claim_value")
}

func (a *API) newJWTMapping(c *Call) (any, *llm.Error) {
	m := &identity.JWTMapping{ID: newID(), Issuer: c.Body.Text("jwt_issuer"), Description: c.Body.Text("description"), Active: true}
	for name, to := range map[string]*string{"jwt_claim_name": &m.ClaimName, "jwt_claim_value": &m.ClaimValue} {
		var e *llm.Error
		if *to, e = someID(c.Body, name); e != nil {
			return nil, e
		}
	}
	e := a.changeSettings(c, func(tx *store.Tx) *llm.Error {
		var e *llm.Error
		if m.Token, e = a.mappedKey(c, tx); e != nil {
			return e
		}
		if m.Token == "" {
			return badRequest("Send the key as key, or its digest as token.", "key")
		}
		return a.inserted(tx, m, mappingTaken(m).Message, "jwt_claim_value")
	})
	if e != nil {
		return nil, e
	}
	return jwtMappingOf(m), nil
}

func (a *API) jwtMapping(c *Call, r store.Reader, id string) (*identity.JWTMapping, *llm.Error) {
	m, err := store.Get[identity.JWTMapping](c.Ctx, r, id)
	if missing(err) {
		return nil, notFound(fmt.Sprintf("Mapping %q does not exist.", id), "id")
	}
	return m, a.failed(err)
}

func (a *API) updateJWTMapping(c *Call) (any, *llm.Error) {
	var row jwtMappingRow
	e := a.changeSettings(c, func(tx *store.Tx) *llm.Error {
		m, e := a.jwtMapping(c, tx, c.Body.Text("id"))
		if e != nil {
			return e
		}
		token, e := a.mappedKey(c, tx)
		if e != nil {
			return e
		}
		if token != "" {
			m.Token = token
		}
		if c.Body.Has("description") {
			m.Description = c.Body.Text("description")
		}
		if c.Body.Has("jwt_issuer") {
			m.Issuer = c.Body.Text("jwt_issuer")
		}
		if c.Body.Given("is_active") {
			m.Active = c.Body.Bool("is_active")
		}
		if err := tx.Update(m); errors.Is(err, store.ErrExists) {
			return mappingTaken(m)
		} else if err != nil {
			return a.failed(err)
		}
		row = jwtMappingOf(m)
		return nil
	})
	return row, e
}

// success is the answer to what has nothing else to tell.
type success struct {
	Status string `json:"status"`
}

func (a *API) deleteJWTMapping(c *Call) (any, *llm.Error) {
	e := a.changeSettings(c, func(tx *store.Tx) *llm.Error {
		m, e := a.jwtMapping(c, tx, c.Body.Text("id"))
		if e != nil {
			return e
		}
		return a.failed(tx.Delete(m))
	})
	return success{"success"}, e
}

func (a *API) jwtMappingInfo(c *Call) (any, *llm.Error) {
	m, e := a.jwtMapping(c, a.c.Store, c.Arg("id"))
	if e != nil {
		return nil, e
	}
	return jwtMappingOf(m), nil
}

// jwtMappingPage is one page of mappings.
type jwtMappingPage struct {
	Mappings    []jwtMappingRow `json:"mappings"`
	TotalCount  int             `json:"total_count"`
	CurrentPage int             `json:"current_page"`
	TotalPages  int             `json:"total_pages"`
}

func (a *API) listJWTMappings(c *Call) (any, *llm.Error) {
	page, size := c.ArgInt("page", 1), c.ArgInt("size", 50)
	found, total, e := counted[identity.JWTMapping](a, c, store.Query{Order: "created_at", Desc: true, Limit: size, Offset: (page - 1) * size})
	if e != nil {
		return nil, e
	}
	out := jwtMappingPage{Mappings: make([]jwtMappingRow, len(found)), TotalCount: total, CurrentPage: page, TotalPages: pages(total, size)}
	for i, m := range found {
		out.Mappings[i] = jwtMappingOf(m)
	}
	return out, nil
}
