package route

import "strings"

// Plan is the way of one request: its group, and the deployments to try in
// their order. Its memory is reused by the next Plan call; what it caught
// aliases the model name that was asked for.
type Plan struct {
	Group       *Group
	Deployments []*Deployment
	Retries     int // attempts beyond the first
	caught      [][]byte
}

// Reset lets go of what the plan points at and keeps its memory.
func (p *Plan) Reset() {
	clear(p.Deployments)
	clear(p.caught)
	p.Group, p.Deployments, p.caught, p.Retries = nil, p.Deployments[:0], p.caught[:0], 0
}

// Plan fills p for a model name; false means that nobody serves it. A team's
// own deployments come before those of the same name that serve all; team is ""
// for a caller without one.
func (t *Table) Plan(model []byte, team string, p *Plan) bool {
	p.Reset()
	g, ok := t.resolve(model, team, p)
	if !ok {
		return false
	}
	p.Group = g
	for i, tier := range g.tiers {
		p.Deployments = append(p.Deployments, tier...)
		if len(tier) > 1 {
			t.shuffle(p.Deployments[len(p.Deployments)-len(tier):], g.weigh[i])
		}
	}
	if p.Retries = p.Deployments[0].Retries; p.Retries < 0 {
		p.Retries = t.retries
	}
	return true
}

// resolve applies the forced model, the alias maps and the patterns, in the
// order of LiteLLM: completion_model, model_alias_map, router alias, group.
func (t *Table) resolve(model []byte, team string, p *Plan) (*Group, bool) {
	if t.force != "" || len(t.rewrite) > 0 || len(t.aliases) > 0 {
		name := t.force
		if name == "" {
			name = t.rewrite[string(model)]
		}
		if name != "" {
			model = []byte(name)
		}
		if a, ok := t.aliases[string(model)]; ok {
			model = []byte(a.Model)
		}
	}
	if team != "" && t.teams != nil {
		if own := t.teams[team]; own != nil {
			g, caught := own.find(model, p.caught)
			if p.caught = caught; g != nil {
				return g, true
			}
		}
	}
	g, caught := t.find(model, p.caught)
	p.caught = caught
	return g, g != nil
}

// shuffle orders one tier at random, each place drawn by weight from those that
// are left. A deployment without the deciding number comes last.
func (t *Table) shuffle(ds []*Deployment, w weigh) {
	for ; len(ds) > 1; ds = ds[1:] {
		var total uint64
		for _, d := range ds {
			total += d.weight(w)
		}
		if total == 0 {
			w = byNothing
			total = uint64(len(ds))
		}
		pick := t.rand(total)
		for i, d := range ds {
			n := d.weight(w)
			if pick < n {
				ds[0], ds[i] = ds[i], ds[0]
				break
			}
			pick -= n
		}
	}
}

func (d *Deployment) weight(w weigh) uint64 {
	switch w {
	case byWeight:
		return uint64(max(d.Weight, 0))
	case byRPM:
		return uint64(max(d.RPM, 0))
	case byTPM:
		return uint64(max(d.TPM, 0))
	default:
		return 1
	}
}

// Wildcard says whether the provider's name of the model depends on what the
// client asked for.
func (d *Deployment) Wildcard() bool { return strings.Contains(d.Model, "*") }

// AppendModel appends the provider's name of the model for this plan.
func (p *Plan) AppendModel(dst []byte, d *Deployment) []byte { return expand(dst, d.Model, p.caught) }

// AppendModelName appends the same with the provider's prefix.
func (p *Plan) AppendModelName(dst []byte, d *Deployment) []byte {
	return expand(dst, d.ModelName, p.caught)
}
