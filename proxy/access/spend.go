package access

import "slices"

// spendRoutes are the reads of what was spent.
func spendRoutes() []Route {
	return slices.Concat([]Route{
		{
			Method: "GET", Path: "/spend/keys", Tag: tagSpend, Summary: "List keys by what they have spent.", Group: GroupSpend, Actions: []Action{SpendRead},
		},
		{
			Method: "GET", Path: "/spend/users", Tag: tagSpend, Summary: "List users by what they have spent.", Group: GroupSpend, Actions: []Action{SpendRead},
			Query: []Field{{Name: "user_id", Type: String, Summary: "This user alone."}},
		},
		{
			Method: "GET", Path: "/global/spend", Tag: tagSpend, Summary: "Sum up what all keys have spent.", Group: GroupSpend, Actions: []Action{GlobalSpend},
		},
	}, spendLogRoutes(), activityRoutes(), globalSpendRoutes())
}
