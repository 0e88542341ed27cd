package app

import (
	"cmp"
	"fmt"
	"slices"

	"sluice/internal/boot"
	"sluice/internal/env"
	"sluice/proxy/admin"
	"sluice/proxy/auth"
	"sluice/proxy/config"
	"sluice/proxy/identity"
	"sluice/proxy/invoice"
	"sluice/proxy/store"
	"sluice/proxy/upstream"
)

// master is the master key in force.
func (w *worker) master(file *config.File) env.Secret {
	if file.General.MasterKey != "" {
		return file.General.MasterKey
	}
	return w.masterKey
}

// keysConfig says who may call, in one configuration.
func (w *worker) keysConfig(file *config.File) auth.Config {
	g := &file.General
	c := auth.Config{
		MasterKey: w.master(file).Reveal(), AdminUser: g.AdminUser,
		Fresh: g.CacheTTL, StaleMax: g.StaleMax,
		AllowedIPs: g.AllowedIPs, AllowedRoutes: g.AllowedRoutes, AdminRoutes: g.AdminRoutes,
		AllowUnavailable: g.AllowRequestsOnDBDown, UnavailableModels: g.UnavailableModels, UnavailableRPM: g.UnavailableRPM,
	}
	l := &file.LiteLLM
	c.Zone, c.CustomerBudget, c.CustomerMax = l.Zone, l.CustomerID, l.CustomerBudget
	if len(l.TagBudgets) > 0 {
		c.TagBudgets = make(map[string]auth.TagBudget, len(l.TagBudgets))
		for name, b := range l.TagBudgets {
			c.TagBudgets[name] = auth.TagBudget{Max: b.Max, Duration: b.Duration}
		}
	}
	if w.data != nil {
		c.Directory = w.data.directory
	}
	return c
}

// adminConfig is the management API of one configuration.
func (w *worker) adminConfig(file *config.File, keys *auth.Keys, costs *prices) (admin.Config, error) {
	g := &file.General
	billers, err := w.billers(file)
	c := admin.Config{
		Strict: w.source.Flags.Strict, Log: w.log.Logger, Zone: file.LiteLLM.Zone,
		MaxKeyDays: g.MaxKeyDays, KeyLength: g.KeyLength,
		Defaults: admin.Defaults{
			Key:  identity.Fields(file.LiteLLM.KeyDefaults),
			User: identity.Fields(file.LiteLLM.UserDefaults),
			Team: identity.Fields(file.LiteLLM.TeamDefaults),
		},
		UpperBounds:    identity.Fields(file.LiteLLM.KeyBounds),
		NoPersonalKeys: g.DefaultTeamDisabled, ShortKeys: file.Compat.ShortKeys, StoreModels: g.StoreModels,
		TeamAdminFields: g.TeamAdminFields, CustomerBudget: file.LiteLLM.CustomerID,
		Models: admin.ModelConfig{
			Catalog: newCatalog(w, file), Keys: w.keysOf(), MayUse: keys.CanUse, TeamBases: g.TeamBases,
			Prices: costs.book, Adjustments: costs.adjust,
		},
		Docs: admin.Docs{
			Title: g.Title, Version: cmp.Or(g.Version, boot.Version), Summary: g.Summary, Description: g.Description, Terms: g.Terms,
			Contact: g.Contact, License: g.License, Hidden: slices.Concat(g.HiddenRouters, g.DisabledRouters), SpecPath: g.SpecURL, RootPath: file.Server.RootPath,
		},
	}
	if of := file.Router.ProviderBudgets; len(of) > 0 {
		c.Providers = make(map[string]admin.ProviderBudget, len(of))
		for name, b := range of {
			c.Providers[name] = admin.ProviderBudget{Max: b.Max, Duration: b.Duration}
		}
	}
	c.Store, c.Billers = w.data.identity(), billers
	return c, err
}

// billers are the providers whose bills can be read.
func (w *worker) billers(file *config.File) (map[string]admin.Biller, error) {
	openai := admin.Biller{Providers: []string{"openai", "text-completion-openai"}, Variable: "OPENAI_ADMIN_KEY"}
	if key := file.General.CostsKey; key != "" {
		verify := file.LiteLLM.Verify
		report, err := invoice.New(invoice.Config{
			Pools: w.pools, URL: file.General.CostsURL, Key: key,
			Options: upstream.Options{InsecureSkipVerify: verify.Skip, CAFile: verify.CAFile, ForceIPv4: file.LiteLLM.ForceIPv4},
		})
		if err != nil {
			return nil, fmt.Errorf("SLUICE_OPENAI_COSTS_URL: %w", err)
		}
		openai.Bill = report
	}
	return map[string]admin.Biller{"openai": openai}, nil
}

// keysOf is how the management API comes by the keys that seal.
func (w *worker) keysOf() admin.Keys {
	if w.data == nil {
		return admin.Keys{}
	}
	return admin.Keys{Ring: w.data.sealing, Renew: w.data.takePromoted}
}

// identity is the store, nil where there is no database.
func (d *data) identity() *store.Store {
	if d == nil {
		return nil
	}
	return d.store
}
