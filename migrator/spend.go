package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"sluice/internal/boot"
	"sluice/migrator/migrate"
	"sluice/proxy/bill"
	"sluice/proxy/money"
	"sluice/proxy/store"
	"sluice/supervisor/fleet"
)

// spendCmd are the commands about what was spent and may be spent.
type spendCmd struct {
	Leases    spendLeases    `cmd:"" help:"Print which hosts hold parts of budgets; of one host, which budgets."`
	Release   spendRelease   `cmd:"" help:"Give back what a host that is gone for good holds of budgets."`
	Reconcile spendReconcile `cmd:"" help:"Compare all sums of spend with their rows. Exit 0 when nothing differs, 1 otherwise. Writes nothing."`
	Export    spendExport    `cmd:"" help:"Write the rows of a period, one for each attempt at a provider."`
}

type spendLeases struct {
	Host string `arg:"" optional:"" help:"Name or id of a host: print each of its leases."`
	JSON bool   `name:"json" help:"Print one JSON document."`
}

type spendRelease struct {
	Host  string `arg:"" help:"Name or id of the host, or a holder, as leases prints them."`
	Yes   bool   `name:"yes" help:"Do not ask."`
	Force bool   `name:"force" help:"Release a host that seems to be alive too. What it spends before it notices is counted late: its budgets may be overspent by that."`
}

// holderAlive is how long after it was seen last a holder counts as one that
// works. Hosts tell the database every ten seconds.
const holderAlive = time.Minute

// runSpend does one of the commands.
func runSpend(ctx context.Context, p *boot.Process, args *cli, command string, target migrate.Target, o migrate.Options) error {
	if err := migrated(ctx, target, o); err != nil {
		return err
	}
	s, err := openStore(target, nil, o.Log)
	if err != nil {
		return boot.Exit(fleet.ExitConfig, err)
	}
	defer s.Close()
	switch command {
	case "spend release <host>":
		return releaseHost(ctx, p, &args.Spend.Release, s)
	case "spend reconcile":
		return reconcile(ctx, p.Stdout, &args.Spend.Reconcile, s)
	case "spend export":
		return exportSpend(ctx, p, &args.Spend.Export, s)
	default:
		return printLeases(ctx, p.Stdout, &args.Spend.Leases, s)
	}
}

// holderStatus is a holder as leases prints it.
type holderStatus struct {
	Host      string        `json:"host"`
	HostID    string        `json:"host_id"`
	Holder    string        `json:"holder"` // one life of the host
	StartedAt time.Time     `json:"started_at"`
	SeenAt    time.Time     `json:"seen_at"`
	Alive     bool          `json:"alive"`
	Budgets   int           `json:"budgets"`
	Amount    money.Nano    `json:"amount"`
	Leases    []leaseStatus `json:"leases,omitempty"`
}

type leaseStatus struct {
	Scope    string     `json:"scope"`
	ID       string     `json:"id"`
	Duration string     `json:"budget_duration"`
	Amount   money.Nano `json:"amount"`
	TakenAt  time.Time  `json:"taken_at"`
}

// hostsNamed are the holders of a host, by its name, its id or their own.
func hostsNamed(ctx context.Context, s *store.Store, name string) ([]bill.Holder, error) {
	all, err := s.Holders(ctx, "")
	if err != nil {
		return nil, storeExit(err)
	}
	if name == "" {
		return all, nil
	}
	var out []bill.Holder
	ids := map[string]bool{}
	for i := range all {
		if h := &all[i]; h.HostName == name || h.HostID == name || h.Holder == name {
			out = append(out, *h)
			ids[h.HostID] = true
		}
	}
	switch {
	case len(out) == 0:
		return nil, boot.Exit(fleet.ExitConfig, fmt.Errorf("no host %q holds anything: see migrator spend leases", name))
	case len(ids) > 1:
		return nil, boot.Exit(fleet.ExitConfig, fmt.Errorf("%d hosts are called %q: give the id of the one that is meant, see migrator spend leases --json", len(ids), name))
	}
	return out, nil
}

func printLeases(ctx context.Context, to io.Writer, args *spendLeases, s *store.Store) error {
	holders, err := hostsNamed(ctx, s, args.Host)
	if err != nil {
		return err
	}
	list := make([]holderStatus, 0, len(holders))
	for i := range holders {
		h := &holders[i]
		st := holderStatus{
			Host: h.HostName, HostID: h.HostID, Holder: h.Holder, StartedAt: h.StartedAt.UTC(), SeenAt: h.SeenAt.UTC(),
			Alive: h.Silent < holderAlive, Budgets: h.Leases, Amount: h.Amount,
		}
		if args.Host != "" {
			if st.Leases, err = leasesOf(ctx, s, h.Holder); err != nil {
				return storeExit(err)
			}
		}
		list = append(list, st)
	}
	if args.JSON {
		return json.NewEncoder(to).Encode(list)
	}
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "HOST\tHOLDER\tSTARTED\tSEEN\tBUDGETS\tAMOUNT")
	for i := range list {
		h := &list[i]
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t$%s\n", h.Host, h.Holder, day8601(&h.StartedAt), day8601(&h.SeenAt), h.Budgets, h.Amount)
		for _, l := range h.Leases {
			_, _ = fmt.Fprintf(w, "\t%s %s\t%s\t%s\t\t$%s\n", l.Scope, l.ID, l.Duration, day8601(&l.TakenAt), l.Amount)
		}
	}
	if len(list) == 0 {
		_, _ = fmt.Fprintln(w, "(none: no host has leased from a budget)")
	}
	return w.Flush()
}

func leasesOf(ctx context.Context, s *store.Store, holder string) ([]leaseStatus, error) {
	const page = 1000
	var out []leaseStatus
	for after := (bill.Lease{}); ; {
		found, err := s.Leases(ctx, holder, 0, after, page)
		if err != nil {
			return nil, err
		}
		for _, l := range found {
			if l.Amount != 0 {
				out = append(out, leaseStatus{l.Kind.String(), l.ID, l.Window, l.Amount, l.TakenAt.UTC()})
			}
		}
		if len(found) < page {
			return out, nil
		}
		after = found[len(found)-1]
	}
}

// releaseHost gives back what a host holds, after it has said how much that is.
func releaseHost(ctx context.Context, p *boot.Process, args *spendRelease, s *store.Store) error {
	holders, err := hostsNamed(ctx, s, args.Host)
	if err != nil {
		return err
	}
	total, budgets := money.Nano(0), 0
	for i := range holders {
		h := &holders[i]
		total, budgets = total+h.Amount, budgets+h.Leases
		if h.Silent < holderAlive && !args.Force {
			return boot.Exit(fleet.ExitConfig, fmt.Errorf("host %s was seen %s ago, it is alive: stop it first, it gives back by itself what it has not spent; or add --force",
				h.HostName, h.Silent.Round(time.Second)))
		}
	}
	if !args.Yes {
		if err := confirm(p, fmt.Sprintf("Host %s holds $%s of %d budgets. Calls that it has not written into the database count when it comes back, "+
			"if it ever does. Release it? Type yes: ", args.Host, total, budgets)); err != nil {
			return err
		}
	}
	total, budgets = 0, 0
	for i := range holders {
		amount, n, err := s.ReleaseHolder(ctx, holders[i].Holder)
		if err != nil {
			return storeExit(err)
		}
		total, budgets = total+amount, budgets+n
	}
	_, err = fmt.Fprintf(p.Stdout, "host %s is released: $%s of %d budgets can be spent again\n", args.Host, total, budgets)
	return err
}

// confirm asks whoever sits at the terminal.
func confirm(p *boot.Process, question string) error {
	f, ok := p.Stdin.(*os.File)
	if ok {
		st, err := f.Stat()
		ok = err == nil && st.Mode()&os.ModeCharDevice != 0
	}
	if !ok {
		return boot.Exit(fleet.ExitConfig, errors.New("nobody is there to be asked: add --yes"))
	}
	_, _ = fmt.Fprint(p.Stdout, question)
	line, err := bufio.NewReader(f).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "yes" {
		return boot.Exit(fleet.ExitConfig, errors.New("nothing was released"))
	}
	return nil
}
