package gateway

import "strings"

// labels writes a label set; pairs are name, value.
func labels(pairs ...string) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(pairs[i])
		b.WriteByte('=')
		b.WriteString(labelValue(pairs[i+1]))
	}
	return b.String()
}

// inLabel are the only escapes that Prometheus's text format knows. A parser
// that keeps to it refuses a whole scrape for any other, and users choose the
// aliases that stand in labels.
var inLabel = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// labelValue quotes the value of a label.
func labelValue(s string) string {
	return `"` + inLabel.Replace(strings.ToValidUTF8(s, "\uFFFD")) + `"`
}
