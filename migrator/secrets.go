package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"sluice/internal/boot"
	"sluice/migrator/migrate"
	"sluice/proxy/seal"
	"sluice/proxy/store"
	"sluice/supervisor/fleet"
)

// secretsCmd are the commands about the keys that seal.
type secretsCmd struct {
	Status secretsStatus `cmd:"" help:"Print which keys the database is sealed with, how many rows name each, and which hosts have it."`
	Retire secretsRetire `cmd:"" help:"Note that a key is done with. Refused while a row names it or a host is to seal with it."`
}

type secretsStatus struct {
	JSON bool `name:"json" help:"Print one JSON document."`
}

type secretsRetire struct {
	ID string `arg:"" help:"Id of the key, as status prints it."`
}

// hostAlive is how long after it was seen last a host counts as one that works,
// as in the proxy.
const hostAlive = time.Minute

// keyStatus is one key as status prints it.
type keyStatus struct {
	ID         string         `json:"id"`
	Writes     bool           `json:"writes"` // everybody seals with it
	Rows       map[string]int `json:"rows"`   // by kind
	Hosts      []string       `json:"hosts"`  // alive, that open what it seals
	PromotedAt *time.Time     `json:"promoted_at"`
	RetiredAt  *time.Time     `json:"retired_at"`
}

// sealingStatus is what status prints.
type sealingStatus struct {
	Writes string      `json:"writes"` // id; "" before the first host has started
	Keys   []keyStatus `json:"keys"`
	Hosts  []string    `json:"hosts"` // alive
}

// runSecrets does one of the commands.
func runSecrets(ctx context.Context, p *boot.Process, args *cli, command string, target migrate.Target, o migrate.Options) error {
	if err := migrated(ctx, target, o); err != nil {
		return err
	}
	if command != "secrets status" {
		return retireKey(ctx, p, args, target, o)
	}
	s, err := openStore(target, nil, o.Log)
	if err != nil {
		return boot.Exit(fleet.ExitConfig, err)
	}
	defer s.Close()
	st, err := readSealing(ctx, s)
	if err != nil {
		return storeExit(err)
	}
	if args.Secrets.Status.JSON {
		return json.NewEncoder(p.Stdout).Encode(st)
	}
	return st.print(p.Stdout)
}

// readSealing collects what the database says of its keys.
func readSealing(ctx context.Context, s *store.Store) (*sealingStatus, error) {
	var out sealingStatus
	var err error
	if out.Writes, err = s.SealingKey(ctx); err != nil {
		return nil, err
	}
	kept, err := s.SealingKeys(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := s.SealedRows(ctx)
	if err != nil {
		return nil, err
	}
	hosts, err := s.Hosts(ctx, hostAlive)
	if err != nil {
		return nil, err
	}
	ids := map[string]*store.SealingKey{} // all that anybody names; nil: it was never in use
	for i := range kept {
		ids[kept[i].ID] = &kept[i]
	}
	named := slices.Collect(maps.Keys(rows))
	out.Hosts = []string{}
	for i := range hosts {
		out.Hosts = append(out.Hosts, hosts[i].Name)
		named = slices.AppendSeq(named, maps.Keys(hosts[i].Keys))
	}
	for _, id := range named {
		if _, known := ids[id]; !known {
			ids[id] = nil
		}
	}
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		k := keyStatus{ID: id, Writes: id == out.Writes, Rows: rows[id], Hosts: holders(hosts, id)}
		if used := ids[id]; used != nil {
			k.PromotedAt, k.RetiredAt = &used.PromotedAt, used.RetiredAt
		}
		if k.Rows == nil {
			k.Rows = map[string]int{}
		}
		out.Keys = append(out.Keys, k)
	}
	return &out, nil
}

// holders are the names of the hosts that open what a key seals.
func holders(hosts []store.Host, id string) []string {
	out := []string{}
	for i := range hosts {
		_, has := hosts[i].Keys[id]
		for _, derived := range hosts[i].Keys { // an entry answers to its derived id too
			has = has || derived == id
		}
		if has {
			out = append(out, hosts[i].Name)
		}
	}
	return out
}

func (st *sealingStatus) print(to io.Writer) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "KEY\tWRITES\tROWS\tHOSTS\tPROMOTED\tRETIRED")
	for _, k := range st.Keys {
		writes, rows, hosts := "-", "-", "-"
		if k.Writes {
			writes = "yes"
		}
		if len(k.Rows) > 0 {
			rows = store.Rows(k.Rows)
		}
		if len(k.Hosts) > 0 {
			hosts = strings.Join(k.Hosts, ", ")
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, writes, rows, hosts, day8601(k.PromotedAt), day8601(k.RetiredAt))
	}
	if len(st.Keys) == 0 {
		_, _ = fmt.Fprintln(w, "(none: no gateway has started on this database)")
	}
	return w.Flush()
}

func day8601(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// retireKey notes that a key is done with.
func retireKey(ctx context.Context, p *boot.Process, args *cli, target migrate.Target, o migrate.Options) error {
	id := args.Secrets.Retire.ID
	if !seal.GoodID(id) { // not shown: it may be a line of a keyring file
		return boot.Exit(fleet.ExitConfig, errors.New("what was given is no id of a key: ids are letters, digits, \".\", \"_\" and \"-\"; see migrator secrets status"))
	}
	ring, err := findRing(p.Environ, stateDir(p.Environ, args))
	if err != nil {
		return boot.Exit(fleet.ExitConfig, err)
	}
	s, err := openStore(target, ring, o.Log)
	if err != nil {
		return boot.Exit(fleet.ExitConfig, err)
	}
	defer s.Close()
	err = s.Change(ctx, store.Actor{User: "sluice", Reason: "migrator secrets retire"}, func(tx *store.Tx) error {
		promoted, err := tx.SealingKey()
		if err != nil {
			return err
		}
		if promoted == id {
			return boot.Exit(fleet.ExitConfig, fmt.Errorf("key %s is the one that everybody seals with: put another one first on every host, and reload them", id))
		}
		hosts, err := tx.Hosts(hostAlive)
		if err != nil {
			return err
		}
		for i := range hosts {
			if hosts[i].WritesWith == id {
				return boot.Exit(fleet.ExitConfig, fmt.Errorf("key %s is the first key of host %s: put another one first there, and reload it", id, hosts[i].Name))
			}
		}
		return tx.Retire(id)
	})
	var used *store.InUseError
	switch {
	case err == nil:
		_, err = fmt.Fprintf(p.Stdout, "key %s is retired: its line can be removed on every host\n", id)
		return err
	case errors.As(err, &used):
		return boot.Exit(fleet.ExitConfig, fmt.Errorf("key %s is in use: %s; the gateway seals them anew by itself, see migrator secrets status",
			id, store.Rows(used.Rows)))
	case errors.Is(err, store.ErrNotFound):
		return boot.Exit(fleet.ExitConfig, fmt.Errorf("key %s was never in use here, or is retired already: see migrator secrets status", id))
	}
	return storeExit(err)
}
