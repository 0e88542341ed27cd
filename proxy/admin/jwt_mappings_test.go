package admin

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"sluice/proxy/identity"
	"sluice/proxy/store"
)

func TestJWTMappings(t *testing.T) {
	each(t, func(w *world) {
		token := w.key("k1", nil)
		other := w.key("k2", nil)
		w.userKey("viewer", "u1", identity.RoleProxyAdminViewer)
		w.userKey("internal", "u2", identity.RoleInternalUser)
		const recorded = `{"id":"x","jwt_issuer":null,"jwt_claim_name":"sub","jwt_claim_value":"a","description":null,"is_active":true,
			"created_at":"","created_by":"","updated_at":"","updated_by":""}`
		made := w.call("master", "POST", "/jwt/key/mapping/new", M{"jwt_claim_name": "sub", "jwt_claim_value": "a", "key": w.plain("k1")})
		w.shaped(made, 200, recorded)
		id := at1(made.Body, "id").(string)
		m, err := store.Get[identity.JWTMapping](context.Background(), w.store, id)
		if err != nil || m.Token != token || !m.Active {
			w.Errorf("%+v %v", m, err)
		}
		for _, as := range []string{"master", "viewer"} {
			read := w.call(as, "GET", "/jwt/key/mapping/info?id="+id, nil)
			if string(read.Raw) != string(made.Raw) || strings.Contains(string(read.Raw), token) {
				w.Errorf("made %s\nread %s", made.Raw, read.Raw)
			}
		}
		// The same claim of one issuer is another mapping.
		second := w.ok("master", "POST", "/jwt/key/mapping/new", M{"jwt_claim_name": "sub", "jwt_claim_value": "a", "jwt_issuer": "https://idp", "token": token})
		w.shaped(w.call("master", "GET", "/jwt/key/mapping/list?size=1&page=2", nil), 200,
			`{"mappings":[`+recorded+`],"total_count":2,"current_page":2,"total_pages":2}`)

		doc := w.ok("master", "POST", "/jwt/key/mapping/update", M{"id": id, "is_active": false, "token": other, "description": "d"})
		if doc["is_active"] != false || doc["description"] != "d" {
			w.Errorf("%v", doc)
		}
		if m, err = store.Get[identity.JWTMapping](context.Background(), w.store, id); err != nil || m.Token != other {
			w.Errorf("%+v %v", m, err)
		}

		before := w.changes()
		claim := M{"jwt_claim_name": "sub", "jwt_claim_value": "a"}
		with := func(more M) M {
			out := M{}
			for _, from := range []M{claim, more} {
				for name, v := range from {
					out[name] = v
				}
			}
			return out
		}
		w.refused(409, "sub", "master", "POST", "/jwt/key/mapping/new", with(M{"token": token}))
		w.refused(409, "sub", "master", "POST", "/jwt/key/mapping/update", M{"id": second["id"], "jwt_issuer": nil})
		w.refused(400, "key", "master", "POST", "/jwt/key/mapping/new", claim)
		w.refused(400, "not both", "master", "POST", "/jwt/key/mapping/new", with(M{"token": token, "key": w.plain("k1")}))
		w.refused(400, "digest", "master", "POST", "/jwt/key/mapping/new", with(M{"token": w.plain("k1")}))
		w.refused(404, "does not exist", "master", "POST", "/jwt/key/mapping/new", with(M{"key": "sk-nobody-has-this-key"}))
		w.refused(422, "jwt_claim_value", "master", "POST", "/jwt/key/mapping/new", M{"jwt_claim_name": "sub", "token": token})
		w.refused(404, "nope", "master", "POST", "/jwt/key/mapping/update", M{"id": "nope"})
		w.refused(404, "nope", "master", "POST", "/jwt/key/mapping/delete", M{"id": "nope"})
		w.refused(404, "nope", "master", "GET", "/jwt/key/mapping/info?id=nope", nil)
		w.refused(422, "size", "master", "GET", "/jwt/key/mapping/list?size=101", nil)
		w.refused(403, "", "viewer", "POST", "/jwt/key/mapping/delete", M{"id": id})
		w.refused(401, "", "internal", "GET", "/jwt/key/mapping/list", nil)
		if after := w.changes(); after != before {
			w.Errorf("refused calls made %d changes", after-before)
		}
		if doc := w.ok("master", "POST", "/jwt/key/mapping/delete", M{"id": id}); fmt.Sprint(doc) != "map[status:success]" {
			w.Errorf("%v", doc)
		}
		w.refused(404, id, "master", "GET", "/jwt/key/mapping/info?id="+id, nil)
	})
}
