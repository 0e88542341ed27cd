package identity

// Spender is an end user or a tag that has a budget.
type Spender struct {
	ID       string
	BudgetID string
	Number   int64 // of the change that made it what it is
}

// Spenders are the end users and tags that have budgets, with those.
type Spenders struct {
	Customers []Spender // newest change first
	Tags      []Spender
	Budgets   []*Budget
	More      bool // there are more customers than were asked for
}

// SpendersQuery asks for them.
type SpendersQuery struct {
	After   int64    // customers that a later change made what they are
	IDs     []string // and these customers
	Most    int      // customers, and tags, at most
	Budgets []string // and these budgets
}
