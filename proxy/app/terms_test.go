package app

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"sluice/proxy/config"
)

// TestLasting: every setting of spend is either followed by a reload or named.
func TestLasting(t *testing.T) {
	old := &config.File{}
	followed := []string{"GlobalParallel", "Parallel", "RejectTags", "BudgetMode", "StorePrompts", // terms and modelTerms read them
		"CostsKey", "CostsURL"} // a generation's management API has them
	spend := reflect.TypeFor[config.Spend]()
	for i := range spend.NumField() {
		file := &config.File{}
		name := spend.Field(i).Name
		switch v := reflect.ValueOf(&file.General.Spend).Elem().Field(i); v.Kind() {
		case reflect.Pointer:
			v.Set(reflect.New(v.Type().Elem()))
		case reflect.String:
			v.SetString("x")
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Float64:
			v.SetFloat(1)
		default:
			v.SetInt(1)
		}
		if got := len(lasting(old, file)); got != 1 && !slices.Contains(followed, name) || got != 0 && slices.Contains(followed, name) {
			t.Errorf("%s: %d settings named", name, got)
		}
	}
	file := &config.File{}
	file.Router.RedisHost = "elsewhere"
	file.General.Retention = time.Hour
	if got := lasting(old, file); !slices.Equal(got, []string{"maximum_spend_logs_retention_period", "how Redis is reached"}) {
		t.Errorf("named: %q", got)
	}
}
