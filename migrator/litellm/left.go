package litellm

// left are the tables that are not taken, and why.
var left = []struct{ table, why string }{
	{"LiteLLM_AdaptiveRouterSession", whyRouter},
	{"LiteLLM_AdaptiveRouterState", whyRouter},
	{"LiteLLM_AgentIdentity", "identities of agents at an identity provider, which nothing here serves"},
	{"LiteLLM_AutoRouterBaselineComparison", whyRouter},
	{"LiteLLM_AutoRouterBaselineObservation", whyRouter},
	{"LiteLLM_AutoRouterDailySpend", whyRouter},
	{"LiteLLM_AutoRouterSession", whyRouter},
	{"LiteLLM_AutoRouterUserSession", whyRouter},
	{"LiteLLM_BackgroundInteractionSettlement", "calls that were running"},
	{"LiteLLM_ClaudeCodePluginTable", "plug-ins for editors: foreign code is not served here"},
	{"LiteLLM_CronJob", "locks of jobs of LiteLLM's"},
	{"LiteLLM_DailyGatewayRequests", whyCounted},
	{"LiteLLM_DailyGlobalSpend", "sums of what the daily spend of users has row by row"},
	{"LiteLLM_DailyGuardrailMetrics", whyCounted},
	{"LiteLLM_DailyGuardrailUsageUnits", whyCounted},
	{"LiteLLM_DailyModelUsage", "sums of what the daily spend of users has row by row"},
	{"LiteLLM_DailyPolicyMetrics", whyCounted},
	{"LiteLLM_DailyToolSpend", whyCounted},
	{"LiteLLM_ErrorLogs", "a log, which LiteLLM keeps"},
	{"LiteLLM_HealthCheckTable", "results of health checks that LiteLLM made"},
	{"LiteLLM_Lens", whyLens},
	{"LiteLLM_LensDataset", whyLens},
	{"LiteLLM_LensIngestionKey", whyLens},
	{"LiteLLM_LensReview", whyLens},
	{"LiteLLM_LensRun", whyLens},
	{"LiteLLM_LensSignalConfig", whyLens},
	{"LiteLLM_LensTraceSignal", whyLens},
	{"LiteLLM_LensWorker", whyLens},
	{"LiteLLM_ManagedFileContentTable", whyManaged},
	{"LiteLLM_ManagedFileTable", whyManaged},
	{"LiteLLM_ManagedObjectTable", whyManaged},
	{"LiteLLM_MemoryTable", "texts that models remembered, which nothing here serves"},
	{tableAliases, "it is read with the teams, whose names for models it has"},
	{"LiteLLM_ProxyWorkerHeartbeat", "signs of life of LiteLLM's workers"},
	{"LiteLLM_RetiredAgent", whyRetired},
	{"LiteLLM_RetiredAgentIdentity", whyRetired},
	{"LiteLLM_SSOIdentityAssertion", "proofs of sessions, which end with LiteLLM"},
	{"LiteLLM_ShadowEvalAttempt", whyShadow},
	{"LiteLLM_ShadowEvalFunnel", whyShadow},
	{"LiteLLM_ShadowEvalJob", whyShadow},
	{"LiteLLM_SkillsTable", "files of skills, which nothing here serves"},
	{"LiteLLM_SpendLogGuardrailIndex", whyIndex},
	{"LiteLLM_SpendLogToolIndex", whyIndex},
	{"LiteLLM_ToolTable", "tools that LiteLLM saw in requests: it finds them anew"},
	{"LiteLLM_UserNotifications", "requests for models that nobody answers here"},
	{"LiteLLM_VerifiedSubject", "users as an identity provider knew them: they are verified anew when they sign in"},
	{"LiteLLM_WorkflowEvent", whyWorkflow},
	{"LiteLLM_WorkflowMessage", whyWorkflow},
	{"LiteLLM_WorkflowRun", whyWorkflow},
	{"_prisma_migrations", "the history of LiteLLM's own schema"},
}

const (
	whyRouter   = "what LiteLLM's adaptive routers have learned, for its own rules alone"
	whyCounted  = "counts of what LiteLLM did itself"
	whyLens     = "LiteLLM's analysis of traces, which nothing here serves"
	whyManaged  = "files and jobs under ids that only LiteLLM resolves: their owners at the providers still have them"
	whyRetired  = "names of agents that were deleted"
	whyShadow   = "experiments of LiteLLM's"
	whyIndex    = "an index of the spend logs, made anew from them"
	whyWorkflow = "runs of LiteLLM's workflows"
)

func leftTables() []Table {
	out := make([]Table, len(left))
	for i, l := range left {
		out[i] = Table{Name: l.table, Left: l.why}
	}
	return out
}

// Tables are all tables of LiteLLM, in the order in which they are taken: what
// others refer to before them.
func Tables() []Table {
	var out []Table
	for _, some := range [][]Table{
		budgetTables(),
		organizationTables(),
		userTables(),
		teamTables(), disagreements(),
		organizationMemberTables(),
		projectTables(),
		groupTables(), customerTables(),
		keyTables(), linkTables(), modelTables(),
		opaqueTables(), dailyTables(), windowTables(), spendLogTables(), leftTables(),
	} {
		out = append(out, some...)
	}
	return out
}
