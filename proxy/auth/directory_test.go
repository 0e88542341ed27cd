package auth

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/proxy/identity"
)

func at(d time.Duration) *time.Time {
	t := time.Now().Add(d)
	return &t
}

func TestKeyOfTheDatabase(t *testing.T) {
	src := newSource()
	src.data.Users = []*identity.User{{ID: "u1", Email: "u@example.org", Role: "internal_user", Models: nil}}
	src.data.Teams = []*identity.Team{{ID: "t1", Alias: "eng", OrganizationID: "o1"}}
	src.data.Organizations = []*identity.Organization{{ID: "o1", Alias: "acme"}}
	src.key("sk-one-two-three", func(k *identity.Key) { k.Alias, k.UserID, k.TeamID = "mine", "u1", "t1" })
	r := newRig(t, src, nil)
	who := r.good("sk-one-two-three")
	if who.Master || who.Role != identity.RoleInternalUser || who.Alias != "mine" || who.User != "u1" || who.UserEmail != "u@example.org" ||
		who.Team != "t1" || who.TeamAlias != "eng" || who.Organization != "o1" || who.OrganizationAlias != "acme" ||
		string(who.KeyHash[:]) != digest("sk-one-two-three") || who.Key == nil {
		t.Errorf("%+v", who)
	}
	for range 100 {
		r.good("sk-one-two-three")
	}
	if _, digests := src.asked(); digests != 1 {
		t.Errorf("%d digests were looked up for one key", digests)
	}
	r.refused("sk-one-two-thre", 401, "token_not_found_in_db")
	r.refused("one-two-three", 401, "auth_error")
	r.refused("", 401, "auth_error")
	if _, digests := src.asked(); digests != 2 {
		t.Errorf("%d digests: what is no key was looked up", digests)
	}
	if who := r.good(master); !who.Master || who.Role != identity.RoleProxyAdmin {
		t.Errorf("%+v", who)
	}
}

func TestRefusals(t *testing.T) {
	src := newSource()
	src.data.Teams = []*identity.Team{{ID: "good"}, {ID: "bad", Blocked: true}}
	src.data.Users = []*identity.User{{ID: "bad", Blocked: true}}
	src.data.Projects = []*identity.Project{{ID: "bad", Blocked: true}}
	src.key("sk-blocked", func(k *identity.Key) { k.Blocked = true })
	src.key("sk-expired", func(k *identity.Key) { k.Expires = at(-time.Second) })
	src.key("sk-later", func(k *identity.Key) { k.Expires = at(time.Hour) })
	src.key("sk-team", func(k *identity.Key) { k.TeamID = "bad" })
	src.key("sk-user", func(k *identity.Key) { k.UserID = "bad" })
	src.key("sk-project", func(k *identity.Key) { k.ProjectID = "bad" })
	src.key("sk-teamless", func(k *identity.Key) { k.TeamID = "gone" })
	src.key("sk-orgless", func(k *identity.Key) { k.OrganizationID = "gone" })
	src.key("sk-default-user", func(k *identity.Key) { k.UserID = identity.DefaultUserID })
	src.key("sk-dashboard", func(k *identity.Key) { k.TeamID = "litellm-dashboard" })
	src.key("sk-fine", func(k *identity.Key) { k.TeamID = "good" })
	r := newRig(t, src, nil)
	for key, typ := range map[string]string{
		"sk-blocked": "auth_error", "sk-expired": "expired_key", "sk-team": "auth_error", "sk-user": "auth_error", "sk-project": "auth_error",
		"sk-teamless": "auth_error", "sk-orgless": "auth_error",
	} {
		r.refused(key, 401, typ)
	}
	for _, key := range []string{"sk-later", "sk-default-user", "sk-dashboard", "sk-fine"} {
		r.good(key)
	}
	if err := r.refused("sk-expired", 401, "expired_key"); err.Param != "sk-...ired" {
		t.Errorf("param %q", err.Param)
	}
}

// A key expires while it is hot.
func TestExpiresWhileHot(t *testing.T) {
	src := newSource()
	src.key("sk-short-lived", func(k *identity.Key) { k.Expires = at(200 * time.Millisecond) })
	r := newRig(t, src, nil)
	r.good("sk-short-lived")
	eventually(t, "the key expires", func() bool {
		_, err := r.Identify([]byte("sk-short-lived"))
		return err != nil && err.Type == "expired_key"
	})
}

// The old key works beside the new one until its grace period is over.
func TestRetiredKey(t *testing.T) {
	src := newSource()
	active := src.key("sk-new-key", func(k *identity.Key) { k.Alias = "regenerated" })
	src.data.Retired = []*identity.RetiredKey{{Token: digest("sk-old-key"), Active: active.Token, RevokeAt: *at(300 * time.Millisecond)}}
	r := newRig(t, src, nil)
	if who := r.good("sk-old-key"); who.Alias != "regenerated" || string(who.KeyHash[:]) != active.Token {
		t.Errorf("%+v", who)
	}
	// A change of the active key reaches who comes with the old one.
	src.change(func(*identity.Resolved) { active.Blocked, active.ChangeNumber = true, 9 })
	r.dir.Publish(9, identity.KindKey, active.Token)
	r.refused("sk-old-key", 401, "auth_error")
	src.change(func(*identity.Resolved) { active.Blocked, active.ChangeNumber = false, 10 })
	r.dir.Publish(10, identity.KindKey, active.Token)
	r.good("sk-old-key")
	eventually(t, "the old key is refused", func() bool {
		_, err := r.Identify([]byte("sk-old-key"))
		return err != nil && err.HTTPStatus() == 401
	})
	r.good("sk-new-key")
}

// After Publish has returned no request passes with the key as it was, however
// many use it meanwhile.
func TestBlockWhileInUse(t *testing.T) {
	src := newSource()
	k := src.key("sk-in-use", nil)
	r := newRig(t, src, func(d *DirectoryConfig, _ *Config) { d.Wait = 5 * time.Second })
	for round := range 30 {
		var published atomic.Bool
		var stop atomic.Bool
		var wg sync.WaitGroup
		r.good("sk-in-use")
		for range 8 {
			wg.Go(func() {
				for !stop.Load() {
					after := published.Load() // before the call, so it began after Publish
					_, err := r.Identify([]byte("sk-in-use"))
					if after && err == nil {
						t.Error("let in after the key was blocked")
						return
					}
				}
			})
		}
		src.change(func(*identity.Resolved) { k.Blocked = true })
		r.dir.Publish(int64(round), identity.KindKey, k.Token)
		published.Store(true)
		time.Sleep(2 * time.Millisecond)
		stop.Store(true)
		wg.Wait()
		src.change(func(*identity.Resolved) { k.Blocked = false })
		r.dir.Publish(int64(round), identity.KindKey, k.Token)
		if t.Failed() {
			return
		}
	}
}

// A query that began before a change says what was before it: its answer does
// not count.
func TestAnswerOlderThanAChange(t *testing.T) {
	src := newSource()
	k := src.key("sk-overtaken", nil)
	r := newRig(t, src, nil)
	var once sync.Once
	src.before = func() {
		once.Do(func() { // the query has read already, and now the key is blocked
			src.change(func(*identity.Resolved) { k.Blocked = true })
			r.dir.Publish(5, identity.KindKey, k.Token)
		})
	}
	r.refused("sk-overtaken", 401, "auth_error")

	// The same for a key that is made while it is looked up.
	var made sync.Once
	src.mu.Lock()
	src.before = func() {
		made.Do(func() {
			src.key("sk-just-made", nil)
			r.dir.Publish(6, identity.KindKey, digest("sk-just-made"))
		})
	}
	src.mu.Unlock()
	r.good("sk-just-made")
}

// A key that was wrong a moment ago and has been made since works at once.
func TestMissIsForgotten(t *testing.T) {
	src := newSource()
	r := newRig(t, src, nil)
	r.refused("sk-to-be-made", 401, "token_not_found_in_db")
	before, _ := src.asked()
	for range 100 {
		r.refused("sk-to-be-made", 401, "token_not_found_in_db")
	}
	if after, _ := src.asked(); after != before {
		t.Errorf("%d queries for a key that was missing a moment ago", after-before)
	}
	src.key("sk-to-be-made", nil)
	r.dir.Publish(1, identity.KindKey, digest("sk-to-be-made"))
	r.good("sk-to-be-made")
	src.change(func(d *identity.Resolved) { d.Keys = nil })
	r.dir.Publish(2, identity.KindKey, digest("sk-to-be-made"))
	r.refused("sk-to-be-made", 401, "token_not_found_in_db")
}

// A change of a team is read once, not once for each of its keys.
func TestSharedObjectIsReadOnce(t *testing.T) {
	const keys = 200
	src := newSource()
	team := &identity.Team{ID: "t1"}
	src.data.Teams = []*identity.Team{team}
	for i := range keys {
		src.key(name(i), func(k *identity.Key) { k.TeamID = "t1" })
	}
	r := newRig(t, src, func(d *DirectoryConfig, _ *Config) { d.Wait = 5 * time.Second })
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() { r.good(name(i)) })
	}
	all.Wait()
	_, before := src.asked()
	src.change(func(*identity.Resolved) { team.Blocked = true })
	r.dir.Publish(1, identity.KindTeam, "t1")
	for i := range keys {
		all.Go(func() { r.refused(name(i), 401, "auth_error") })
	}
	all.Wait()
	if _, after := src.asked(); after-before > 3 {
		t.Errorf("%d digests were looked up for one team", after-before)
	}
	src.change(func(*identity.Resolved) { team.Blocked = false })
	r.dir.Publish(2, identity.KindTeam, "t1")
	for i := range keys {
		r.good(name(i))
	}
}

// More changes than the ring holds: everything is read again.
func TestOverrun(t *testing.T) {
	src := newSource()
	k := src.key("sk-overrun", nil)
	team := &identity.Team{ID: "t"}
	src.data.Teams = []*identity.Team{team}
	src.key("sk-of-team", func(k *identity.Key) { k.TeamID = "t" })
	r := newRig(t, src, nil)
	r.good("sk-overrun")
	r.good("sk-of-team")
	src.change(func(*identity.Resolved) { k.Blocked, team.Blocked = true, true })
	r.tab.PublishChange(uint8(identity.KindKey), k.Token)
	r.tab.PublishChange(uint8(identity.KindTeam), "t")
	for i := range 10_000 {
		r.tab.PublishChange(uint8(identity.KindModel), name(i))
	}
	r.refused("sk-overrun", 401, "auth_error")
	r.refused("sk-of-team", 401, "auth_error")
	src.change(func(*identity.Resolved) { k.Blocked = false })
	r.dir.PublishAll()
	r.good("sk-overrun")
}

// What has just been used is read again as soon as it has changed, before
// anybody asks for it.
func TestReadAhead(t *testing.T) {
	src := newSource()
	k := src.key("sk-warm", nil)
	r := newRig(t, src, nil)
	r.good("sk-warm")
	src.change(func(*identity.Resolved) { k.Alias = "renamed" })
	_, before := src.asked()
	r.dir.Publish(1, identity.KindKey, k.Token)
	eventually(t, "the key is read again", func() bool { _, n := src.asked(); return n > before })
	eventually(t, "the reading is in place", func() bool {
		d := sum("sk-warm")
		rec := r.dir.records.find(&d)
		return rec != nil && !rec.stale.Load()
	})
	if who := r.good("sk-warm"); who.Alias != "renamed" {
		t.Errorf("alias %q", who.Alias)
	}
	if _, after := src.asked(); after != before+1 {
		t.Errorf("read %d times", after-before)
	}
}

// An old record is served, and read again beside that.
func TestRevalidation(t *testing.T) {
	src := newSource()
	k := src.key("sk-aging", nil)
	r := newRig(t, src, func(_ *DirectoryConfig, c *Config) { c.Fresh = 50 * time.Millisecond })
	r.good("sk-aging")
	src.change(func(*identity.Resolved) { k.Alias = "changed behind our back" })
	eventually(t, "the key is read again", func() bool { return r.good("sk-aging").Alias != "" })
}

func TestLastActive(t *testing.T) {
	src := newSource()
	k := src.key("sk-active", nil)
	r := newRig(t, src, nil)
	for range 1000 {
		r.good("sk-active")
	}
	if n := len(r.dir.touches.used); n != 1 {
		t.Errorf("%d keys are to be written", n)
	}
	r.dir.Close()
	if _, ok := src.touched[k.Token]; !ok {
		t.Error("the use was not written at the end")
	}
}

func TestCustomers(t *testing.T) {
	src := newSource()
	src.blocked = []string{"c1"}
	r := newRig(t, src, nil)
	if err := r.MayServe([]byte("c1")); err == nil || err.HTTPStatus() != 401 {
		t.Errorf("a blocked customer: %v", err)
	}
	if err := r.MayServe([]byte("nobody heard of")); err != nil {
		t.Errorf("an unknown customer: %v", err)
	}
	if err := r.MayServe(nil); err != nil {
		t.Errorf("no customer: %v", err)
	}
	src.change(func(*identity.Resolved) { src.blocked = []string{"c2"} })
	r.tab.PublishChange(uint8(identity.KindEndUser), "c1")
	r.tab.PublishChange(uint8(identity.KindEndUser), "c2")
	r.refused("sk-follows-the-ring", 401, "token_not_found_in_db")
	if err := r.MayServe([]byte("c1")); err != nil {
		t.Errorf("unblocked: %v", err)
	}
	if err := r.MayServe([]byte("c2")); err == nil {
		t.Error("blocked since, and served")
	}
	// While the database is away the others are served, and one that has
	// changed is not.
	src.fails(errAway)
	r.tab.PublishChange(uint8(identity.KindEndUser), "c3")
	eventually(t, "the change is followed", func() bool { return r.dir.customers.dirty.Load() })
	if err := r.MayServe([]byte("c3")); err == nil || err.HTTPStatus() != 503 {
		t.Errorf("changed, nobody knows how: %v", err)
	}
	if err := r.MayServe([]byte("c4")); err != nil {
		t.Errorf("not changed: %v", err)
	}
	if err := r.MayServe([]byte("c2")); err == nil || err.HTTPStatus() != 401 {
		t.Errorf("blocked before: %v", err)
	}
}

func sum(key string) [32]byte { return sha256.Sum256([]byte(key)) }
