package auth

import (
	"strings"
	"testing"
)

func TestIdentify(t *testing.T) {
	k := New(Config{MasterKey: "sk-master"})
	who, err := k.Identify([]byte("sk-master"))
	if err != nil || !who.Known || !who.Master || strings.Contains(string(who.KeyHash[:]), "master") {
		t.Fatalf("%+v %v", who, err)
	}
	for _, c := range []struct{ key, typ string }{
		{"", "auth_error"}, {"sk-master2", "token_not_found_in_db"}, {"sk-maste", "token_not_found_in_db"}, {"nonsense", "auth_error"}, {"sk", "auth_error"},
	} {
		who, err := k.Identify([]byte(c.key))
		if err == nil || err.HTTPStatus() != 401 || err.TypeName() != c.typ || who.Known {
			t.Errorf("%q: %+v %v", c.key, who, err)
		}
		if len(c.key) > 2 && strings.Contains(err.Message, c.key) {
			t.Errorf("%q is in the message", c.key)
		}
	}
	if who, err := New(Config{}).Identify([]byte("")); err == nil || who.Known {
		t.Error("no master key: everybody is admitted")
	}
	digest := New(Config{})
	if _, err := digest.Identify(nil); err == nil {
		t.Error("no master key: nobody may be admitted")
	}
}
