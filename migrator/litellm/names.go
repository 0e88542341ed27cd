package litellm

// Tables of LiteLLM that something here asks for by name.
const (
	tableKeys         = "LiteLLM_VerificationToken"
	tableRetired      = "LiteLLM_DeprecatedVerificationToken"
	tableUsers        = "LiteLLM_UserTable"
	tableTeams        = "LiteLLM_TeamTable"
	tableAliases      = "LiteLLM_ModelTable"
	tableMembers      = "LiteLLM_TeamMembership"
	tableOrgs         = "LiteLLM_OrganizationTable"
	tableOrgMembers   = "LiteLLM_OrganizationMembership"
	tableProjects     = "LiteLLM_ProjectTable"
	tableEndUsers     = "LiteLLM_EndUserTable"
	tableBudgets      = "LiteLLM_BudgetTable"
	tableWindows      = "LiteLLM_BudgetWindowSpend"
	tableTags         = "LiteLLM_TagTable"
	tableGroups       = "LiteLLM_AccessGroupTable"
	tableGroupBudgets = "LiteLLM_ModelAccessGroupBudgetTable"
	tablePermissions  = "LiteLLM_ObjectPermissionTable"
	tableModels       = "LiteLLM_ProxyModelTable"
	tableCredentials  = "LiteLLM_CredentialsTable"
	tableConfig       = "LiteLLM_Config"
	tableMappings     = "LiteLLM_JWTKeyMapping"
	tableInvitations  = "LiteLLM_InvitationLink"
	tableSpendLogs    = "LiteLLM_SpendLogs"
)
