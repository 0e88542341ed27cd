package access

import "slices"

// TagDocs is the tag of the documents about the API themselves.
const TagDocs = "documentation"

// Routes is the whole table of routes, in the order of the documentation. A
// method and path stands in it once.
func Routes() []Route {
	return slices.Concat(
		llmRoutes(), keyRoutes(), userRoutes(), teamRoutes(), organizationRoutes(), projectRoutes(), customerRoutes(),
		budgetRoutes(), tagRoutes(), accessGroupRoutes(), invitationRoutes(), jwtMappingRoutes(), modelRoutes(),
		credentialRoutes(), configRoutes(), spendRoutes(), costRoutes(), auditRoutes(), healthRoutes(), docsRoutes(), laterRoutes(),
	)
}
