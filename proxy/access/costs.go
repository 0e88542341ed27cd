package access

// costRoutes are the routes that say what a call costs, or would.
func costRoutes() []Route {
	tokens := number(0)
	return []Route{
		{
			Method: "POST", Path: "/spend/calculate", Tag: tagSpend, Summary: "What messages or an answer cost.", Group: GroupSpend, NoDatabase: true,
			Body: []Field{
				{Name: "model", Type: String, Summary: "The model; needed with messages, else that of the answer."},
				{Name: "messages", Type: ObjectList, Summary: "A prompt: what its tokens cost, before the call."},
				{Name: "completion_response", Type: Object, Summary: "An answer with its usage: what it cost."},
			},
		},
		{
			Method: "POST", Path: "/cost/estimate", Tag: tagSpend, Summary: "What calls of a model would cost.", Group: GroupSpend, NoDatabase: true,
			Body: []Field{
				{Name: "model", Type: String, Required: true, Summary: "The model's public name, or one of the table of prices."},
				{Name: "input_tokens", Type: Integer, Required: true, Minimum: tokens, Summary: "Tokens of the prompt."},
				{Name: "output_tokens", Type: Integer, Required: true, Minimum: tokens, Summary: "Tokens of the answer."},
				{Name: "cache_read_input_tokens", Type: Integer, Minimum: tokens, Summary: "Of the prompt: read from the provider's cache."},
				{Name: "cache_creation_input_tokens", Type: Integer, Minimum: tokens, Summary: "Of the prompt: written into the provider's cache."},
				{Name: "reasoning_tokens", Type: Integer, Minimum: tokens, Summary: "Of the answer: spent on reasoning."},
				{Name: "num_requests_per_day", Type: Integer, Minimum: tokens},
				{Name: "num_requests_per_month", Type: Integer, Minimum: tokens},
			},
		},
	}
}
