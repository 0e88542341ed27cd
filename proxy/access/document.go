package access

import "strings"

// Document is the matrix as a page for operators.
func Document() string {
	var b strings.Builder
	b.WriteString(`# Who may do what

This page is made from the table that decides (` + "`go test ./proxy/access -update`" + `).

A caller is judged by the database as it is at the moment of the call: the role of the user that its key belongs to, and the
user's places in teams and organizations. Of the columns that apply to it, the best one counts. The master key is a proxy admin. A
key whose user is not there stands alone; a user without a role reads what is its own, like an internal viewer. Viewers never
write: their places in teams and organizations count for reading only.

| cell | means |
|---|---|
| ✓ | allowed |
| v | allowed; only what the caller sees is shown |
| o | what belongs to the caller's own user |
| s | what is in the caller's own scope: its organization, or its team |
| p | where the team's ` + "`team_member_permissions`" + ` list the route |
| k | keys of the caller's team that belong to no user |
| b | organizations that the caller belongs to |
| a | keys of its own team, for a service account |
| g | with the key permission ` + "`get_spend_routes`" + ` |
| m | the master key alone |
| ✗ | refused; a number is the status of the refusal |

`)
	b.WriteString("| action |")
	for c := range Columns {
		b.WriteString(" " + c.String() + " |")
	}
	b.WriteString("\n|" + strings.Repeat("---|", int(Columns)+1) + "\n")
	for _, r := range matrix {
		b.WriteString("| " + r.name + " |")
		for _, cell := range strings.Fields(r.cells) {
			cell = strings.ReplaceAll(cell, "✗4", "✗ 4")
			b.WriteString(" " + strings.ReplaceAll(cell, ",", ", ") + " |")
		}
		b.WriteByte('\n')
	}
	b.WriteString(`
A list shows what its caller may see one by one, and its total counts that. An object that one may not see answers like one that
is missing (404), except where LiteLLM says 403 and its clients know it.

What one gives is never more than one has: models, routes, budget, limits and end of a key, a team or a member lie within those of
whoever gives them, unless that is a proxy admin. An empty list of models stands for all, so clearing one is giving everything.

What a user, a team, a project and an organization may use bounds their keys; the routes and the end of the calling key bound the keys
that are made or regenerated with it.

A key that one makes or regenerates for another user acts as that user, and one holds its secret. So it calls models alone
(` + "`key_type`" + ` llm_api), whatever was asked, unless a proxy admin made it; and nobody else makes or regenerates a key of a proxy admin or an
admin viewer, or a key without a team for a user of other organizations.
`)
	return b.String()
}
