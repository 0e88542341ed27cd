package app

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"sluice/proxy/config"
	"sluice/proxy/feed"
	"sluice/proxy/identity"
	"sluice/proxy/store"
	"sluice/supervisor/fleet"
)

const (
	overlayLook  = 50 * time.Millisecond // how often the ring is looked at: it also gathers changes that come together
	overlayAgain = time.Second           // after a failure
	overlayWait  = time.Second           // of a change, for the workers of the host to have it in force
	overlayName  = "overlay"             // in the key snapshot
)

// overlaying is what a worker needs to follow what the database holds beside
// the file.
type overlaying struct {
	asks    chan func()   // to be done by the goroutine that owns the configuration
	changed chan struct{} // this worker has changed something itself
	storing atomic.Bool   // store_model_in_db, in the configuration in force
	again   atomic.Bool   // what the database holds is to be opened with other keys

	// Owned by the goroutine that owns the configuration.
	overlay *overlay // in force
	said    []string // what was wrong with it

	// Owned by followOverlay, once storing is true.
	followed *fleet.ChangeReader
	stale    bool // the overlay is to be read again
}

func newOverlaying() overlaying {
	return overlaying{asks: make(chan func()), changed: make(chan struct{}, 1)}
}

// overlaid are the kinds of objects that the configuration is made from.
var overlaid = []identity.Kind{identity.KindModel, identity.KindCredential, identity.KindConfig}

// firstOverlay reads what the database holds beside the file, for a start: from
// the database, or where it is away from what this host remembers.
func (w *worker) firstOverlay(ctx context.Context, file *config.File) *overlay {
	if w.data == nil || !file.General.StoreModels {
		return nil
	}
	position := w.table.Header().AuthEpoch.Load()
	w.followed = fleet.NewChangeReader(w.table) // what is published from here on is read again
	if !w.data.away {
		ctx, cancel := context.WithTimeout(ctx, startPatience)
		defer cancel()
		w.again.Store(false)
		w.overlayAt(position) // what is changed from here on is waited for
		o, err := w.data.readOverlay(ctx)
		if err == nil {
			return o
		}
		w.table.Generation(w.area).Overlay.Store(0)
		w.log.Warn("models and settings of the database could not be read", errAttr(err))
	}
	w.stale = true
	raw, ok := w.data.snapshot.Get(overlayName)
	w.data.snapshot.Forget()
	if ok {
		if o, oldErr := newOverlay(raw, w.data.ring()); oldErr == nil {
			w.log.Warn("the database is away: its models and settings are those that this host remembers")
			return o
		}
	}
	w.log.Warn("the database is away: its models and settings are not served")
	return nil
}

// overlaidFile reads the configuration again, with the overlay. Nothing in that
// can fail.
func (w *worker) overlaidFile(file *config.File) *config.File {
	src := w.source
	src.ReadFile, src.Overlay = w.files.replay, w.overlay.over()
	laid, problems := read(src)
	if laid == nil {
		w.log.Error("what the database holds could not be laid over the configuration", errAttr(problems.Err()))
		return file
	}
	w.sayOverlay(w.overlay, problems)
	return laid
}

// follow keeps the worker in step with the database until it ends.
func (w *worker) follow() {
	d := w.data
	if d == nil {
		return
	}
	d.done.Go(func() { w.followOverlay(d.ctx) })
	d.done.Go(func() { d.followKeys(d.ctx) })
	d.done.Go(func() { w.keepCustody(d.ctx) })
	if w.slot == 0 {
		d.done.Go(func() { d.checkRoom(d.ctx, w.table.Slots()) })
	}
}

// setStoring notes whether the configuration in force counts the database in.
func (w *worker) setStoring(file *config.File) {
	on := w.data != nil && file.General.StoreModels
	if on && w.followed == nil {
		w.followed, w.stale = fleet.NewChangeReader(w.table), true
	}
	if !on {
		w.table.Generation(w.area).Overlay.Store(0)
	}
	if w.storing.Swap(on) != on {
		w.wakeOverlay()
	}
}

// otherKeys has what the database holds opened again: what did not open before
// may open now.
func (w *worker) otherKeys() {
	w.again.Store(true)
	w.wakeOverlay()
}

// wakeOverlay has followOverlay look at once.
func (w *worker) wakeOverlay() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// readOverlay reads what the database holds beside the file, and remembers it.
func (d *data) readOverlay(ctx context.Context) (*overlay, error) {
	s, err := readStored(ctx, d.store)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	if old, ok := d.snapshot.Get(overlayName); !ok || string(old) != string(raw) {
		if err := d.snapshot.Put(overlayName, raw); err != nil {
			d.log.Warn("models and settings could not be kept for an outage", errAttr(err))
		}
	}
	d.snapshot.Forget()
	return newOverlay(raw, d.ring())
}

// committed is told of every change of this worker after its commit. It returns
// when the host knows of it; where the configuration is made from what has
// changed, when that is in force, so that a model which was just made can be
// called at once.
func (w *worker) committed(changes []store.Changed) {
	if ringless() {
		return
	}
	w.data.remember(changes)
	feed.Committed(w.table, changes)
	if !w.storing.Load() || !slices.ContainsFunc(changes, func(c store.Changed) bool { return slices.Contains(overlaid, c.Kind) }) {
		return
	}
	position := w.table.Header().AuthEpoch.Load()
	w.wakeOverlay()
	for end := fleet.Now() + int64(overlayWait); fleet.Now() < end && !w.everywhere(position); {
		time.Sleep(2 * time.Millisecond)
	}
}

// everywhere reports whether all workers of the host that take requests, or are
// about to, or answer the last ones, have in force what was changed up to a
// position of the ring.
func (w *worker) everywhere(position uint64) bool {
	for i := range w.table.Areas() {
		g := w.table.Generation(i)
		if g.Number.Load() == 0 {
			continue
		}
		switch fleet.State(g.State.Load()) {
		case fleet.StateStarting, fleet.StateReady, fleet.StateLame:
		default:
			continue
		}
		if at := g.Overlay.Load(); at != 0 && at-1 < position { // 0: it follows no overlay
			return false
		}
	}
	return true
}

func (w *worker) overlayAt(position uint64) { w.table.Generation(w.area).Overlay.Store(position + 1) }

// followOverlay keeps the configuration in step with the database: it reads
// what has changed and hands it to the worker's own goroutine.
func (w *worker) followOverlay(ctx context.Context) {
	t := time.NewTimer(overlayLook)
	defer t.Stop()
	defer w.table.Generation(w.area).Overlay.Store(0) // nobody waits for a worker that ends
	var retry time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.changed:
		case <-t.C:
		}
		if !w.storing.Load() {
			continue // it is woken when that changes, and needs no time until then
		}
		t.Reset(overlayLook)
		position := w.table.Header().AuthEpoch.Load()
		if w.followed.Pending() && w.isOverlaid() || w.again.Swap(false) {
			w.stale = true
		}
		if w.stale && time.Now().After(retry) {
			if err := w.refreshOverlay(ctx); err != nil {
				retry = time.Now().Add(overlayAgain)
				continue
			}
			w.stale = false
		}
		if !w.stale {
			w.overlayAt(position)
		}
	}
}

// isOverlaid reports whether what is new in the ring may change the overlay.
func (w *worker) isOverlaid() bool {
	found := false
	overrun := w.followed.Next(func(kind uint8, _ uint64) {
		found = found || slices.Contains(overlaid, identity.Kind(kind))
	})
	return found || overrun
}

// refreshOverlay reads the overlay and waits until it is in force.
func (w *worker) refreshOverlay(ctx context.Context) error {
	read, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	o, err := w.data.readOverlay(read)
	if err != nil {
		return err
	}
	return w.ask(ctx, func() { w.useOverlay(o) })
}

// ask has something done by the goroutine that owns the configuration.
func (w *worker) ask(ctx context.Context, do func()) error {
	done := make(chan struct{})
	select {
	case w.asks <- func() { do(); close(done) }:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// useOverlay puts an overlay in force over the file as it was last read. What
// is wrong in it is left out.
func (w *worker) useOverlay(o *overlay) {
	if w.overlay != nil && w.overlay.sum == o.sum {
		return
	}
	began, old := time.Now(), w.overlay
	w.overlay = o
	src := w.source
	src.ReadFile, src.Overlay = w.files.replay, o.config
	file, problems := read(src)
	if file == nil {
		w.overlay = old
		w.log.Error("what the database holds could not be laid over the configuration", errAttr(problems.Err()))
		return
	}
	if err := w.swap(file); err != nil {
		w.overlay = old
		w.log.Error("what the database holds could not be put in force", errAttr(err))
		return
	}
	w.config = file
	w.sayOverlay(o, problems)
	w.log.Info("configuration follows the database", slog.Int("models", len(o.config.Models)), slog.Duration("took", time.Since(began)))
}

// sayOverlay says once what is wrong in the database.
func (w *worker) sayOverlay(o *overlay, problems config.Problems) {
	if o == nil || w.slot != 0 { // one worker speaks for all
		return
	}
	lines := slices.Clone(o.broken)
	for _, p := range problems.Of(config.Warning) {
		if p.At.File == config.Database {
			lines = append(lines, p.String())
		}
	}
	if len(lines) > 0 && !slices.Equal(lines, w.said) {
		w.log.Warn("the database holds what cannot be served", slog.Any("problems", lines))
	}
	w.said = lines
}
