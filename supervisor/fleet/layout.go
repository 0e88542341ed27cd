//go:build !sluicelayout

package fleet

// How this release lays the records of limits.
const (
	thisLayout = 1
	thisRegion = 0
	otherSize  = 0
)

func (t *Table) makeBanks(pid int) {
	l := firstLayout(pid)
	t.limits = newBank(t, l)
	t.leases = newBank(t, leaseLayout(pid))
}

// describeBanks writes the directory.
func (t *Table) describeBanks() { t.describe(thisLayout, firstLayout(0), t.limits.count) }
