package admin

import (
	"encoding/json"
	"fmt"
	"maps"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/store"
)

// bulkLimit is how many objects a bulk call takes: each is a change of its own.
const bulkLimit = 500

type userUpdateAnswer struct {
	ID   string      `json:"user_id"`
	Data userUpdated `json:"data"`
}

func (a *API) updateUser(c *Call) (any, *llm.Error) {
	return answerOr(a.changeUser(c))
}

// answerOr is an answer where there is no error.
func answerOr[T any](v T, e *llm.Error) (any, *llm.Error) {
	if e != nil {
		return nil, e
	}
	return v, nil
}

// changeUser changes the user that the body names, by id or else by e-mail
// address. An id that is not known makes a user, as it does in LiteLLM; that
// takes a proxy admin, as all but one's own alias does.
func (a *API) changeUser(c *Call) (userUpdateAnswer, *llm.Error) {
	var answer userUpdateAnswer
	id, email := c.Body.Text("user_id"), c.Body.Text("user_email")
	if id == "" && email == "" {
		return answer, badRequest("user_id or user_email must say which user to change.", "user_id")
	}
	if c.Body.Given("password") {
		if e := c.May(access.UserUpdate, access.Target{UserID: id}); e != nil {
			return answer, e
		}
	}
	password, e := a.newPassword(c)
	if e != nil {
		return answer, e
	}
	e = a.change(c, func(tx *store.Tx) (e *llm.Error) {
		answer, e = a.changeUserIn(c, tx, id, email, password)
		return e
	})
	return answer, e
}

// changeUserIn is changeUser in a transaction. Where it refuses it has written
// nothing.
func (a *API) changeUserIn(c *Call, tx *store.Tx, id, email, password string) (userUpdateAnswer, *llm.Error) {
	u, e := a.userOf(c, tx, id, email)
	if e != nil {
		return userUpdateAnswer{}, e
	}
	if e := a.mayChangeUser(c, id, u); e != nil {
		return userUpdateAnswer{}, e
	}
	if u == nil && id == "" {
		return userUpdateAnswer{}, notFound(fmt.Sprintf("User not found, passed user_email=%s", email), "user_email")
	}
	if id == "" {
		// The address was there to find the user; it stays as it is written.
		body := maps.Clone(c.Body)
		delete(body, "user_email")
		c = c.with(body)
	}
	return a.writeUser(c, tx, u, id, password)
}

// userOf reads a user by its id, or else by its e-mail address; nil if there is
// none.
func (a *API) userOf(c *Call, r store.Reader, id, email string) (*identity.User, *llm.Error) {
	if id != "" {
		return a.findUser(c, r, id)
	}
	return a.userWithEmail(c, r, email)
}

// mayChangeUser says whether the caller may change what the body names of a
// user. On oneself that is the alias alone.
func (a *API) mayChangeUser(c *Call, id string, u *identity.User) *llm.Error {
	t := access.Target{UserID: id}
	if u != nil {
		t.UserID = u.ID
	}
	for name := range c.Body {
		if name != "user_id" && name != "user_alias" {
			return c.May(access.UserUpdate, t)
		}
	}
	if ok, e := c.Allowed(access.UserUpdateAlias, t); ok || e != nil {
		return e
	}
	return c.May(access.UserUpdate, t)
}

// writeUser writes the change of a user, which is nil for one to be made.
func (a *API) writeUser(c *Call, tx *store.Tx, was *identity.User, id, password string) (answer userUpdateAnswer, e *llm.Error) {
	u := &identity.User{ID: id}
	if was != nil {
		copied := *was
		u = &copied
	}
	if e := a.setUser(c, u); e != nil {
		return answer, e
	}
	switch {
	case c.Body.Null("password"):
		u.Password = ""
	case password != "":
		u.Password = password
	}
	if was == nil {
		e = a.insertUser(c, tx, u)
	} else {
		e = a.saveUser(c, tx, u, was)
	}
	if e != nil {
		return answer, e
	}
	teams, err := teamsOf(c.Ctx, tx, u.ID)
	answer = userUpdateAnswer{ID: u.ID, Data: userUpdated{userFields: newUserFields(u, teams[u.ID])}}
	return answer, a.failed(err)
}

// saveUser writes a user who was there before.
func (a *API) saveUser(c *Call, tx *store.Tx, u, was *identity.User) *llm.Error {
	if u.Role != was.Role || u.Blocked && !was.Blocked {
		if e := a.lastAdmin(c, tx, was); e != nil {
			return e
		}
	}
	if u.Email != was.Email {
		if e := a.freeEmail(c, tx, u.Email, u.ID); e != nil {
			return e
		}
	}
	return a.failed(tx.UpdateAs(blockedAs(was.Blocked, u.Blocked), u))
}

// blockedAs is how a change is recorded that may have blocked something.
func blockedAs(before, after bool) store.Action {
	switch {
	case after && !before:
		return store.Blocked
	case before && !after:
		return store.Unblocked
	}
	return store.Updated
}

// userResult is what became of one user of many.
type userResult struct {
	ID      *string      `json:"user_id"`
	Email   *string      `json:"user_email"`
	Success bool         `json:"success"`
	Error   *string      `json:"error"`
	Updated *userUpdated `json:"updated_user"`
}

type userResults struct {
	Results   []userResult `json:"results"`
	Requested int          `json:"total_requested"`
	Succeeded int          `json:"successful_updates"`
	Failed    int          `json:"failed_updates"`
}

func (r *userResults) add(one userResult, e *llm.Error) {
	one.Success = e == nil
	if e != nil {
		one.Error = &e.Message
		r.Failed++
	} else {
		r.Succeeded++
	}
	r.Requested++
	r.Results = append(r.Results, one)
}

// updateUsers changes many users, each in a transaction of its own: one that
// cannot be changed does not keep back the others.
func (a *API) updateUsers(c *Call) (any, *llm.Error) {
	if e := c.May(access.UserUpdate, access.Target{}); e != nil {
		return nil, e
	}
	out := userResults{Results: []userResult{}}
	if c.Body.Bool("all_users") {
		e := a.updateAllUsers(c, &out)
		return answerOr(out, e)
	}
	var elements []json.RawMessage
	_ = json.Unmarshal(c.Body["users"], &elements) // it was checked
	if len(elements) == 0 || len(elements) > bulkLimit {
		return nil, badRequest(fmt.Sprintf("users must list 1 to %d users; %d were received. Or set all_users and user_updates.", bulkLimit, len(elements)), "users")
	}
	bodies := make([]Body, len(elements))
	for i, raw := range elements {
		var e *llm.Error
		if bodies[i], e = sub(raw, access.UserUpdateFields(), "body", "users", i); e != nil {
			return nil, e
		}
	}
	if n := passwordsIn(bodies); n > passwordLimit {
		return nil, badRequest(fmt.Sprintf("users may carry at most %d passwords in one call: each takes its time to hash. %d were received.", passwordLimit, n), "users")
	}
	for _, b := range bodies {
		answer, e := a.changeUser(c.with(b))
		one := userResult{ID: null(b.Text("user_id")), Email: null(b.Text("user_email"))}
		if e == nil {
			one.ID, one.Email, one.Updated = &answer.ID, answer.Data.Email, &answer.Data
		}
		if e != nil && e.HTTPStatus() >= 500 {
			return nil, e
		}
		out.add(one, e)
	}
	return out, nil
}

func passwordsIn(bodies []Body) (n int) {
	for _, b := range bodies {
		if b.Given("password") {
			n++
		}
	}
	return n
}

// updateAllUsers gives all users the same change. They are changed a page at a
// time in the order of their ids, so that users who come meanwhile do no harm.
func (a *API) updateAllUsers(c *Call, out *userResults) *llm.Error {
	changes, e := sub(c.Body["user_updates"], access.UserUpdateFields(), "body", "user_updates")
	if e != nil {
		return e
	}
	if len(changes) == 0 || changes.Has("user_id") || changes.Has("user_email") {
		return badRequest("user_updates must say what to change of all users, without user_id and user_email.", "user_updates")
	}
	password, e := a.newPassword(c.with(changes))
	if e != nil {
		return e
	}
	c = c.with(changes)
	for last := ""; ; {
		var page userResults
		e := a.change(c, func(tx *store.Tx) *llm.Error {
			page = userResults{}
			users, err := store.Find[identity.User](c.Ctx, tx, store.Query{Where: []store.Cond{store.After("user_id", last)}, Limit: bulkLimit})
			if err != nil {
				return a.failed(err)
			}
			for _, u := range users {
				answer, e := a.changeUserIn(c, tx, u.ID, "", password)
				if e != nil && e.HTTPStatus() >= 500 {
					return e
				}
				one := userResult{ID: &u.ID, Email: null(u.Email)}
				if e == nil {
					one.Updated = &answer.Data
				}
				page.add(one, e)
			}
			return nil
		})
		if e != nil {
			return e
		}
		out.Results = append(out.Results, page.Results...)
		out.Requested, out.Succeeded, out.Failed = out.Requested+page.Requested, out.Succeeded+page.Succeeded, out.Failed+page.Failed
		if page.Requested < bulkLimit {
			return nil
		}
		last = *page.Results[page.Requested-1].ID
	}
}
