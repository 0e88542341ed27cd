package server

import "testing"

// The customer of a request comes in either of two headers, in any case of
// letters.
func TestCustomerHeaders(t *testing.T) {
	for _, c := range []struct{ lines, want string }{
		{"Host: a\r\nX-LiteLLM-End-User-Id:  c1 \r\n", "c1"},
		{"Host: a\r\nx-litellm-customer-id: c2\r\n", "c2"},
		{"Host: a\r\nx-litellm-customer-idx: c3\r\n", ""},
		{"Host: a\r\nx-litellm-customer-is: c4\r\n", ""},
		{"Host: a\r\n", ""},
	} {
		var h head
		if e := h.scan([]byte(c.lines), ""); e != nil {
			t.Fatalf("%q: %v", c.lines, e)
		}
		if string(h.endUser) != c.want {
			t.Errorf("%q: %q, want %q", c.lines, h.endUser, c.want)
		}
	}
}
