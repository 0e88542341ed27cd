//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/internal/postgres/pgtest"
)

// setClock has the database say another time than the host: its own functions of
// these names come before those of PostgreSQL.
func setClock(t *testing.T, url string, off time.Duration) {
	t.Helper()
	pgtest.Exec(t, url, fmt.Sprintf("UPDATE skewed.clock SET off = '%d seconds'", int64(off.Seconds())))
}

// skewable is a database whose clock setClock sets.
func skewable(t *testing.T) string {
	t.Helper()
	url := pgtest.Database(t)
	name := url[strings.LastIndex(url, "/")+1 : strings.Index(url, "?")]
	pgtest.Exec(t, url, "CREATE SCHEMA skewed; CREATE TABLE skewed.clock (off interval NOT NULL); INSERT INTO skewed.clock VALUES ('0')")
	for _, function := range []string{"clock_timestamp", "now"} {
		pgtest.Exec(t, url, "CREATE FUNCTION skewed."+function+"() RETURNS timestamptz STABLE LANGUAGE sql AS "+
			"'SELECT pg_catalog."+function+"() + off FROM skewed.clock'")
	}
	pgtest.Exec(t, url, "ALTER DATABASE "+name+" SET search_path = skewed, pg_catalog, public")
	return url
}

// M10: the clock of a host is an hour ahead of the database's, and then an hour
// behind, as after a jump. Every call is a row once, each window of the database's
// clock has its budget and no more, and the log says what is wrong.
func TestMoneyClock(t *testing.T) {
	t.Parallel()
	const cents = 20
	url := skewable(t)
	// By the database it is twenty past, so that no window ends on the way.
	now := time.Now().UTC()
	past := now.Truncate(time.Hour).Add(20 * time.Minute).Sub(now)
	setClock(t, url, past-time.Hour)
	w := newMoney(t, moneyOptions{Options: Options{Workers: 2}, url: url, models: centModels})
	w.purse(fmt.Sprintf(`{"max_budget":0.%02d,"budget_duration":"1h"}`, cents))
	stop, over := make(chan struct{}), make(chan struct{})
	var calls []moneyCall
	go func() { // ends with stop
		defer close(over)
		calls = w.spendAll("clock", 8, stop)
	}()
	spent := func(when string, want int) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); w.admitted("clock") < want; time.Sleep(100 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Errorf("%s: %d calls of a cent were admitted, %d are to be\n%s", when, w.admitted("clock"), want, w.tail(20))
				return
			}
		}
		time.Sleep(length(1500*time.Millisecond, 30*time.Second)) // for what must not be
		if n := w.admitted("clock"); n != want {
			t.Errorf("%s: %d calls of a cent were admitted, %d are to be", when, n, want)
		}
	}
	spent("the host is ahead", cents)
	setClock(t, url, past+time.Hour)
	spent("the host is behind", 2*cents)
	close(stop)
	<-over
	var v *verdict
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(500 * time.Millisecond) {
		v = w.compare(calls) // sums are of the last window
		if len(v.lost)+len(v.double)+len(v.wrong) == 0 || time.Now().After(deadline) {
			break
		}
	}
	for _, text := range append(append(v.lost, v.double...), v.wrong...) {
		t.Error(text)
	}
	t.Logf("M10: a clock an hour ahead, then an hour behind: %v", v)
	log := w.hosts[0].Log()
	for _, said := range []string{"the clock of this host is not that of the database", "the clock of the database was set"} {
		if !strings.Contains(log, said) {
			t.Errorf("the log does not say that %s\n%s", said, w.tail(20))
		}
	}
	w.refusals(calls)
}
