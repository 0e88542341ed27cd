package llm

import (
	"encoding/binary"
	"testing"
	"unsafe"
)

func TestUsageCodec(t *testing.T) {
	full := Usage{Charged: -5, Tier: TierDecisions, SearchSize: SearchHigh, Priced: true, Estimated: true, Reported: true}
	for i, n := range full.counts() {
		if *n != 0 {
			t.Errorf("count %d stands for two fields", i)
		}
		*n = int64(i+1) << (i % 40)
	}
	for _, u := range []Usage{{}, {Input: 1200, Output: 300, Total: 1500, Reported: true}, {Input: -1, Estimated: true}, {Priced: true}, full} {
		b := u.Append(nil)
		var got Usage
		if !got.Read(b) || got != u {
			t.Errorf("%+v reads back as %+v", u, got)
		}
		for n := range b { // cut off anywhere: no panic, and what stands before is right
			var part Usage
			part.Read(b[:n])
			if part.Input != 0 && part.Input != u.Input {
				t.Errorf("%d of %d bytes: %+v", n, len(b), part)
			}
		}
		// A later release says more.
		b = binary.AppendVarint(binary.AppendUvarint(b, 59), 7)
		b = binary.AppendVarint(binary.AppendUvarint(b, 1<<40), -7)
		b = binary.AppendVarint(binary.AppendUvarint(b, unitFlags), 1<<20|flagReported)
		if !got.Read(b) || !got.Reported || got.Input != u.Input {
			t.Errorf("%+v with what is unknown: %+v", u, got)
		}
	}
	chat := Usage{Input: 1200, Output: 300, Total: 1500, CachedIn: 1024, Reported: true}
	if n := len(chat.Append(nil)); n > 16 {
		t.Errorf("a chat takes %d bytes", n)
	}
	if n := testing.AllocsPerRun(100, func() { var u Usage; u.Read(chat.Append(make([]byte, 0, 64))) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if size := unsafe.Sizeof(chat); size > 272 {
		t.Errorf("a usage takes %d bytes, and is copied with each request", size)
	}
}

// TestUsageNumbers: numbers of counts are in journals.
func TestUsageNumbers(t *testing.T) {
	u := Usage{Input: 1, CacheWrite: 1, Queries: 1, MillisOut: 1, Charged: 1, Tier: TierFlex}
	want := []byte{1, 2, 7, 2, 24, 2, 31, 2, 60, 2, 62, 4}
	if got := u.Append(nil); string(got) != string(want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestTiers(t *testing.T) {
	for tier := TierBatch; tier < TierOffPeak; tier++ {
		if TierNamed([]byte(tier.String())) != tier {
			t.Error(tier)
		}
	}
	for _, name := range []string{"default", "auto", "scale", "", "off_peak", "standard"} {
		if TierNamed([]byte(name)) != TierStandard {
			t.Error(name)
		}
	}
	if TierNamed([]byte("fast")) != TierPriority {
		t.Error("fast")
	}
	if Tiers.String() != "unknown" || SearchSizeNamed([]byte("x")) != SearchUnsaid {
		t.Error("names")
	}
}
