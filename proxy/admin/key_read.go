package admin

import (
	"fmt"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/store"
)

// keyHealth serves POST /key/health. Keys have no logging of their own in this
// release, so there is nothing that could be broken.
func (a *API) keyHealth(*Call) (any, *llm.Error) {
	return struct {
		Key       string    `json:"key"`
		Callbacks *struct{} `json:"logging_callbacks"`
	}{Key: "healthy"}, nil
}

// keyShown is the answer to /key/info.
type keyShown struct {
	Key  string `json:"key"`
	Info struct {
		keyRow[*isoOffset]
		Status string `json:"status"`
	} `json:"info"`
}

// keyInfo serves GET /key/info.
func (a *API) keyInfo(c *Call) (any, *llm.Error) {
	name := c.Arg("key")
	if name == "" {
		name = c.callingKey()
	}
	k, e := a.keyNamed(c, a.c.Store, name)
	if e != nil {
		return nil, e
	}
	t, e := a.keyTarget(c, a.c.Store, k)
	if e != nil {
		return nil, e
	}
	if e := c.May(infoAction(t), t); e != nil {
		return nil, e
	}
	budget, e := a.budget(c, a.c.Store, k.BudgetID)
	if e != nil {
		return nil, e
	}
	shown := keyShown{Key: name}
	shown.Info.keyRow, shown.Info.Status = newKeyRow(k, budget, offset), keyStatus(k, c.Now)
	return shown, nil
}

func infoAction(t access.Target) access.Action {
	if t.Self {
		return access.KeyInfoSelf
	}
	return access.KeyInfo
}

// keyInfos serves POST /v2/key/info. Keys that are not there, or that the caller
// may not see, are left out.
func (a *API) keyInfos(c *Call) (any, *llm.Error) {
	names := c.Body.Texts("keys")
	if len(names) == 0 || len(names) > mostKeys {
		return nil, badRequest(fmt.Sprintf("keys must name 1 to %d keys; %d were sent.", mostKeys, len(names)), "keys")
	}
	digests := make([]string, len(names))
	for i, name := range names {
		digests[i] = digestOfKey(name)
	}
	found, err := store.Find[identity.Key](c.Ctx, a.c.Store, store.Query{Where: []store.Cond{store.In("token", digests)}})
	if err != nil {
		return nil, a.failed(err)
	}
	targets, e := a.keyTargets(c, a.c.Store, found...)
	if e != nil {
		return nil, e
	}
	budgets, err := budgetsOf(c, a.c.Store, keyBudgetIDs(found))
	if err != nil {
		return nil, a.failed(err)
	}
	byDigest := map[string]*identity.Key{}
	for _, k := range found {
		t := targets[k.Token]
		ok, e := c.Allowed(infoAction(t), t)
		if e != nil {
			return nil, e
		}
		if ok {
			byDigest[k.Token] = k
		}
	}
	rows := []keyRow[*isoOffset]{}
	for _, digest := range digests { // in the order of the question
		if k := byDigest[digest]; k != nil {
			rows = append(rows, newKeyRow(k, budgets[k.BudgetID], offset))
		}
	}
	return struct {
		Keys []string             `json:"key"`
		Info []keyRow[*isoOffset] `json:"info"`
	}{names, rows}, nil
}

func keyBudgetIDs(keys []*identity.Key) []string {
	var out []string
	for _, k := range keys {
		if k.BudgetID != "" {
			out = append(out, k.BudgetID)
		}
	}
	return out
}
