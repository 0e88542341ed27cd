package app

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"sluice/proxy/config"
	"sluice/proxy/identity"
	"sluice/proxy/seal"
	"sluice/proxy/store"
)

// stored is what the database holds beside the file, sealed as it is there: it
// may be kept on disk for workers that are born while the database is away.
type stored struct {
	Models      []*identity.Model
	Credentials []*identity.Credential
	Settings    []*identity.ConfigItem
}

func readStored(ctx context.Context, s *store.Store) (*stored, error) {
	var o stored
	var err error
	if o.Models, err = store.Find[identity.Model](ctx, s, store.Query{Order: "created_at"}); err != nil {
		return nil, err
	}
	if o.Credentials, err = store.Find[identity.Credential](ctx, s, store.Query{}); err != nil {
		return nil, err
	}
	o.Settings, err = store.Find[identity.ConfigItem](ctx, s, store.Query{})
	return &o, err
}

// overlay is what is laid over the file now.
type overlay struct {
	sum    [sha256.Size]byte // of what it says: the same, sealed with another key, changes nothing
	config *config.Overlay
	broken []string // what could not be opened
}

// newOverlay opens what is stored. What cannot be opened is left out.
func newOverlay(raw []byte, ring *seal.Ring) (*overlay, error) {
	var s stored
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("what the database holds beside the file: %w", err)
	}
	o := &overlay{config: &config.Overlay{Sections: map[string]config.Objects{}}}
	for _, m := range s.Models {
		params, err := openParams(ring, m)
		if err != nil {
			o.broken = append(o.broken, fmt.Sprintf("the model %s cannot be opened and is left out: %v", m.ID, err))
			continue
		}
		o.config.Models = append(o.config.Models, config.OverlayModel{
			ID: m.ID, Name: m.Name, TeamID: m.TeamID, Blocked: m.Blocked, Params: params, Info: config.Objects(m.Info),
		})
	}
	for _, c := range s.Credentials {
		values, err := openValues(ring, c)
		if err != nil {
			o.broken = append(o.broken, fmt.Sprintf("the credential %s cannot be opened and is left out: %v", c.Name, err))
			continue
		}
		o.config.Credentials = append(o.config.Credentials, config.OverlayCredential{Name: c.Name, Values: values})
	}
	for _, c := range s.Settings {
		if c.Name == config.EnvironmentVariables {
			o.variables(ring, c)
			continue
		}
		o.config.Sections[c.Name] = config.Objects(c.Value)
	}
	said, err := json.Marshal(o.config)
	if err != nil {
		return nil, fmt.Errorf("what the database holds beside the file: %w", err)
	}
	o.sum = sha256.Sum256(said)
	return o, nil
}

// variables opens the variables that the API stored.
func (o *overlay) variables(ring *seal.Ring, c *identity.ConfigItem) {
	o.config.Environment = make(map[string]string, len(c.Value))
	for name, v := range c.Value {
		opened, err := ring.OpenJSON(c.Kind().Table(), c.Name, name, v)
		text := string(opened) // a number or a truth value
		if err == nil && opened[0] == '"' {
			err = json.Unmarshal(opened, &text)
		}
		if err != nil {
			o.broken = append(o.broken, fmt.Sprintf("the variable %s of environment_variables cannot be opened and is left out: %v", name, err))
			continue
		}
		o.config.Environment[name] = text
	}
}

func openParams(ring *seal.Ring, m *identity.Model) (config.Objects, error) {
	out := make(config.Objects, len(m.Params))
	for name, v := range m.Params {
		opened, err := ring.OpenJSON(m.Kind().Table(), m.ID, name, v)
		if err != nil {
			return nil, err
		}
		out[name] = opened
	}
	return out, nil
}

func openValues(ring *seal.Ring, c *identity.Credential) (map[string]string, error) {
	out := make(map[string]string, len(c.Values))
	for name, v := range c.Values {
		opened, err := ring.Open(seal.Place(c.Kind().Table(), c.ID, name), v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[name] = opened
	}
	return out, nil
}

// over is what a configuration is read with.
func (o *overlay) over() *config.Overlay {
	if o == nil {
		return nil
	}
	return o.config
}
