package config

// identityKeys are the rows of general_settings that say who may call, what is
// kept in the database, and how the API documents itself.
func identityKeys() []Key {
	return []Key{
		{Name: "db_unavailable_models", Kind: Texts, Default: "all", Doc: "the models that such keys may use"},
		{Name: "db_unavailable_rpm", Kind: Int, Default: "600", Doc: "their requests a minute, of all together on one host; 0 admits none"},
		{Name: "auth_stale_max", Kind: Seconds, Default: "3600", Doc: "how long keys that are known are served after the last contact with the database"},
		{Name: "user_api_key_cache_ttl", Kind: Seconds, Default: "60", Doc: "age at which a key that is in use is looked up again. Changes over the API are seen at once, whatever this is"},
		{Name: "auth_key_max_expiration_days", Kind: Int, Default: "0, no bound", Doc: "longest life of a new key; also `auth_max_token_expiration_days`"},
		{Name: "auth_max_token_expiration_days", Kind: Int, Doc: "the same as `auth_key_max_expiration_days`"},
		{Name: "store_model_in_db", Kind: Bool, Default: "`STORE_MODEL_IN_DB`, false", Doc: "let the API keep models, credentials and settings in the database; they are laid over this file"},
		{Name: "supported_db_objects", Kind: Texts, Default: "all", Doc: "what is taken from the database besides settings and credentials; of this release `models`"},
		{Name: "default_team_disabled", Kind: Bool, Default: "`PROXY_DEFAULT_TEAM_DISABLED`, false", Doc: "every new key belongs to a team"},
		{Name: "allowed_ips", Kind: Texts, Default: "all", Doc: "addresses and networks that may call; others get 403"},
		{Name: "allowed_routes", Kind: Texts, Default: "all", Doc: "the routes that are served: paths, `/path/*` or names of groups; others get 403"},
		{Name: "admin_only_routes", Kind: Texts, Doc: "routes that only proxy admins may call"},
		{Name: "public_routes", Kind: Texts, Use: Guards, Doc: "every route wants its usual key"},
		{Name: "team_admin_editable_team_fields", Kind: Texts, Doc: "what a team's admin may change of the team besides its members and keys"},
		{Name: "team_admin_api_bases", Kind: Texts, Default: "none", Doc: "the `api_base` that a team's admin may give to models of the team"},
		{Name: "disabled_routers", Kind: Texts, Doc: "families of routes that are not served, by their tag in the API's documentation"},
		{Name: "hidden_routers", Kind: Texts, Doc: "families of routes that are served and not documented"},
		{Name: "app_title", Kind: Text, Default: "Sluice", Doc: "title of the API's documentation; also `swagger_title` and `DOCS_TITLE`"},
		{Name: "swagger_title", Kind: Text, Doc: "the same as `app_title`"},
		{Name: "swagger_version", Kind: Text, Default: "the release", Doc: "version that the documentation shows"},
		{Name: "swagger_summary", Kind: Text, Doc: "summary in the documentation"},
		{Name: "swagger_description", Kind: Text, Doc: "description in the documentation; also `DOCS_DESCRIPTION`"},
		{Name: "swagger_terms_of_service", Kind: Text, Doc: "URL of the terms of service"},
		{Name: "swagger_contact", Kind: Map, Doc: "contact in the documentation: name, url, email"},
		{Name: "swagger_license_info", Kind: Map, Doc: "license in the documentation: name, url, identifier"},
		{Name: "swagger_openapi_url", Kind: Text, Default: "/openapi.json", Doc: "path of the OpenAPI document; also `OPENAPI_URL`"},
		{Name: "swagger_docs_url", Kind: Text, Default: "/docs", Doc: "path of the documentation; also `DOCS_URL`"},
		{Name: "swagger_redoc_url", Kind: Text, Use: Later},
		{Name: "swagger_openapi_tags", Kind: List, Use: Later},
		{Name: "disable_adding_master_key_hash_to_db", Kind: Bool, Default: "true", Doc: "the master key's digest is never stored"},
		{Name: "disable_master_key_return", Kind: Bool, Default: "true", Doc: "no answer holds the master key"},
	}
}
