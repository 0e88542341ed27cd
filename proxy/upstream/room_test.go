package upstream

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// ration is a Room of so many bytes.
type ration struct{ left, taken int64 }

func (r *ration) Take(n int64) bool {
	if n > r.left {
		return false
	}
	r.left, r.taken = r.left-n, r.taken+n
	return true
}

// TestReadAllRoom: a small answer asks for nothing, a large one for at least
// what it holds, and one that is refused is not read on.
func TestReadAllRoom(t *testing.T) {
	const size = 1 << 20
	body := strings.Repeat("x", size)
	for name, answer := range map[string]string{
		"length": fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, body),
		"chunks": fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", size, body),
		"small":  okAnswer,
	} {
		s := serve(t, nil, always(answer))
		e := endpoint(t, pools(t, Settings{}), s.url(), Options{})
		for _, left := range []int64{0, size / 2, 4 * size} {
			r, err := e.Do(post("{}"), nil)
			if err != nil {
				t.Fatal(err)
			}
			room := &ration{left: left}
			got, err := r.ReadAll(nil, 64<<20, room)
			r.Close()
			switch {
			case name == "small":
				if err != nil || room.taken != 0 {
					t.Errorf("%s: %v, %d taken", name, err, room.taken)
				}
			case left < size:
				if !errors.Is(err, ErrNoRoom) || e.pool.idling() != 0 {
					t.Errorf("%s with room for %d: %v", name, left, err)
				}
			case err != nil || len(got) != size || room.taken < size-freeRoom || room.taken > 3*size:
				t.Errorf("%s with room for %d: %v, %d bytes, %d taken", name, left, err, len(got), room.taken)
			}
		}
	}
}
