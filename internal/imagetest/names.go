//go:build image

package imagetest

import (
	"encoding/binary"
	"fmt"
	"net"
	"strings"
)

// serveNames answers pods' questions for addresses of services, by their names
// SERVICE.NAMESPACE.svc.cluster.local: as much of a cluster's name service as a
// chart needs. It ends with the run.
func (c *Cluster) serveNames() error {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(Node), Port: 53})
	if err != nil {
		return fmt.Errorf("name service: %w", err)
	}
	go func() { // ends with the process
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFromUDP(buf)
			if err != nil {
				return
			}
			question := append([]byte(nil), buf[:n]...)
			go func() { // ends with the answer
				if answer := c.answer(question); answer != nil {
					_, _ = conn.WriteToUDP(answer, from)
				}
			}()
		}
	}()
	return nil
}

// answer is the answer to one question (RFC 1035, 4.1); nil where it is none.
func (c *Cluster) answer(q []byte) []byte {
	const header = 12
	if len(q) < header || q[2]&0x80 != 0 || binary.BigEndian.Uint16(q[4:]) != 1 {
		return nil
	}
	var labels []string
	at := header
	for at < len(q) && q[at] != 0 {
		end := at + 1 + int(q[at])
		if end >= len(q) {
			return nil
		}
		labels = append(labels, strings.ToLower(string(q[at+1:end])))
		at = end
	}
	if at+5 > len(q) {
		return nil
	}
	kind := binary.BigEndian.Uint16(q[at+1:])
	out := append([]byte(nil), q[:at+5]...)
	out[2], out[3] = 0x84|q[2]&1, 0 // an answer, by who knows
	for i := 6; i < header; i++ {
		out[i] = 0
	}
	if len(labels) != 5 || strings.Join(labels[2:], ".") != "svc.cluster.local" {
		out[3] = 3 // there is no such name
		return out
	}
	address, err := c.kubectl("get", "service", labels[0], "-n", labels[1], "-o", "jsonpath={.spec.clusterIP}")
	ip := net.ParseIP(address).To4()
	switch {
	case err != nil:
		out[3] = 3
	case kind == 1 && ip != nil:
		out[7] = 1
		out = append(out, 0xc0, header, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4) // that name, A, IN, 5 s
		out = append(out, ip...)
	}
	return out
}
