package route

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Alias is another name of a model group.
type Alias struct {
	Model  string
	Hidden bool // not in the list of models
}

// Config is what a Table is made from.
type Config struct {
	Deployments []Deployment      // in the order of the file
	Aliases     map[string]Alias  // model_group_alias
	Rewrite     map[string]string // model_alias_map: applied before anything else
	Force       string            // completion_model: whatever the client asks for
	Retries     int               // num_retries

	Rand func(n uint64) uint64 // uniform in [0, n); required
	Now  func() int64          // monotonic nanoseconds; required
}

// Table is the routes of one generation. It is safe for concurrent use.
type Table struct {
	exact   map[string]*Group
	wild    []*Group // most specific first
	aliases map[string]Alias
	rewrite map[string]string
	force   string
	retries int
	rand    func(n uint64) uint64
	list    []ModelInfo
	byName  map[string]ModelInfo
	teams   map[string]*Table // of deployments that serve one team alone; exact, wild, list and byName of each
}

// Group is the deployments that share a model name.
type Group struct {
	Name    string
	Timeout time.Duration // the longest of its deployments' own; 0: none has one
	// AccessGroups are the names that stand for the group in lists of models.
	AccessGroups []string

	limits Limits
	tiers  [][]*Deployment // by order, lowest first
	weigh  []weigh         // of each tier
	size   int
	budget budget
}

// weigh is what decides inside a tier.
type weigh uint8

const (
	byNothing weigh = iota
	byWeight
	byRPM
	byTPM
)

// New builds a table. It fails when an alias or a deployment cannot work.
func New(c Config) (*Table, error) {
	t := newTable()
	t.aliases, t.rewrite, t.force, t.retries, t.rand = c.Aliases, c.Rewrite, c.Force, c.Retries, c.Rand
	owners, order := map[string][]*Deployment{}, []string{""}
	for i := range c.Deployments {
		d := c.Deployments[i]
		d.Index = i
		if d.Group == "" {
			return nil, fmt.Errorf("deployment %d has no model_name", i)
		}
		if strings.Count(d.Model, "*") > strings.Count(d.Group, "*") {
			return nil, fmt.Errorf("model %q has more '*' than model_name %q", d.Model, d.Group)
		}
		if d.Team != "" && owners[d.Team] == nil {
			order = append(order, d.Team)
		}
		owners[d.Team] = append(owners[d.Team], &d)
	}
	for _, team := range order {
		into := t
		if team != "" {
			into = newTable()
			if t.teams == nil {
				t.teams = map[string]*Table{}
			}
			t.teams[team] = into
		}
		into.add(owners[team], c.Now)
	}
	return t, t.addAliases()
}

func newTable() *Table { return &Table{exact: map[string]*Group{}, byName: map[string]ModelInfo{}} }

// add makes the groups of some deployments.
func (t *Table) add(ds []*Deployment, now func() int64) {
	groups, order := map[string][]*Deployment{}, []string(nil)
	for _, d := range ds {
		if groups[d.Group] == nil {
			order = append(order, d.Group)
		}
		groups[d.Group] = append(groups[d.Group], d)
	}
	for _, name := range order {
		g := newGroup(name, groups[name], now)
		if strings.Contains(name, "*") {
			t.wild = append(t.wild, g)
		} else {
			t.exact[name] = g
		}
		t.addInfo(name, g)
	}
	slices.SortStableFunc(t.wild, func(a, b *Group) int {
		return cmp.Or(
			cmp.Compare(len(b.Name)-strings.Count(b.Name, "*"), len(a.Name)-strings.Count(a.Name, "*")),
			cmp.Compare(strings.Count(a.Name, "*"), strings.Count(b.Name, "*")),
		)
	})
}

// addAliases lists the aliases that are not hidden.
func (t *Table) addAliases() error {
	names := make([]string, 0, len(t.aliases))
	for name := range t.aliases {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		a := t.aliases[name]
		g, _ := t.find([]byte(a.Model), nil)
		if g == nil {
			return fmt.Errorf("model_group_alias %q points at %q, which is no model group", name, a.Model)
		}
		if !a.Hidden {
			t.addInfo(name, g)
		}
	}
	return nil
}

func (t *Table) addInfo(name string, g *Group) {
	if _, ok := t.byName[name]; ok {
		return
	}
	m := g.info(name)
	m.Wildcard = strings.Contains(name, "*")
	t.byName[name] = m
	t.list = append(t.list, m)
}

// info describes the group under one of its names.
func (g *Group) info(name string) ModelInfo {
	return ModelInfo{ID: name, Created: modelCreated, OwnedBy: "openai", Group: g.Name, AccessGroups: g.AccessGroups, Limits: g.limits}
}

func newGroup(name string, ds []*Deployment, now func() int64) *Group {
	g := &Group{Name: name, size: len(ds), budget: budget{now: now}}
	slices.SortStableFunc(ds, func(a, b *Deployment) int { return cmp.Compare(a.Order, b.Order) })
	for _, d := range ds {
		g.Timeout = max(g.Timeout, d.Timeout)
		g.limits.widen(d.Limits)
		for _, a := range d.AccessGroups {
			if !slices.Contains(g.AccessGroups, a) {
				g.AccessGroups = append(g.AccessGroups, a)
			}
		}
	}
	for len(ds) > 0 {
		n := 1
		for n < len(ds) && ds[n].Order == ds[0].Order {
			n++
		}
		g.tiers = append(g.tiers, ds[:n:n])
		g.weigh = append(g.weigh, decider(ds[0]))
		ds = ds[n:]
	}
	return g
}

// decider picks the measure of a tier by its first deployment, as LiteLLM's
// simple-shuffle does.
func decider(d *Deployment) weigh {
	switch {
	case d.Weight > 0:
		return byWeight
	case d.RPM > 0:
		return byRPM
	case d.TPM > 0:
		return byTPM
	}
	return byNothing
}

// Models lists every name that may be asked for, in the order of the file,
// aliases last. The slice is shared: do not change it.
func (t *Table) Models() []ModelInfo { return t.list }

// OfTeam lists the names that one team alone may ask for. The slice is shared.
func (t *Table) OfTeam(team string) []ModelInfo {
	if own := t.teams[team]; own != nil {
		return own.list
	}
	return nil
}

// Model finds one entry of Models, or says whether a pattern covers the name.
func (t *Table) Model(name []byte) (ModelInfo, bool) {
	if m, ok := t.byName[string(name)]; ok {
		return m, true
	}
	if g, _ := t.find(name, nil); g != nil {
		return g.info(string(name)), true
	}
	return ModelInfo{}, false
}

// find looks for a group: exact names first, then patterns from the most
// specific on. caught gets what each '*' stood for.
func (t *Table) find(name []byte, caught [][]byte) (*Group, [][]byte) {
	if g := t.exact[string(name)]; g != nil {
		return g, caught
	}
	for _, g := range t.wild {
		if c, ok := match(g.Name, name, caught); ok {
			return g, c
		}
	}
	return nil, caught
}
