package access

// spendRoutes are the reads of what was spent.
func spendRoutes() []Route {
	const tag = "spend tracking"
	return []Route{
		{
			Method: "GET", Path: "/spend/keys", Tag: tag, Summary: "List keys by what they have spent.", Group: GroupSpend, Actions: []Action{SpendRead},
		},
		{
			Method: "GET", Path: "/spend/users", Tag: tag, Summary: "List users by what they have spent.", Group: GroupSpend, Actions: []Action{SpendRead},
			Query: []Field{{Name: "user_id", Type: String, Summary: "This user alone."}},
		},
		{
			Method: "GET", Path: "/global/spend", Tag: tag, Summary: "Sum up what all keys have spent.", Group: GroupSpend, Actions: []Action{GlobalSpend},
		},
	}
}
