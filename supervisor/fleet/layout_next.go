//go:build sluicelayout

package fleet

// A release that lays the records of limits differently, for the tests of an
// upgrade to one: every second cache line, spread by another factor over other
// levels, in a region behind all others.
const (
	thisLayout = 2
	thisRegion = 1

	nextRecords = (64 + 1024 + 16384 + 131072) * bucketSlots
	otherSize   = bankPages + nextRecords*2*recordSize
)

func nextLayout(pid int) layout {
	return layout{
		at: claimsEnd, stride: 2 * recordSize, factor: 0xc2b2_ae3d_27d4_eb4f, bits: []uint8{6, 10, 14, 17}, region: 1, pid: pid,
	}
}

func (t *Table) makeBanks(pid int) {
	t.older = newBank(t, firstLayout(pid))
	t.limits = newBank(t, nextLayout(pid))
	t.leases = newBank(t, leaseLayout(pid))
}

// describeBanks writes the directory.
func (t *Table) describeBanks() {
	t.describe(1, firstLayout(0), t.older.count)
	t.describe(thisLayout, nextLayout(0), t.limits.count)
}
