package archtest

// mayImport is the map of the system: every package of the module, and the
// packages of the module that it may import ("*" is all). A package that is
// not listed fails the test, so a new package is always a visible decision;
// ARCHITECTURE.md has the reasons. Tests may import test support besides.
var mayImport = map[string]string{
	// Programs.
	"supervisor": "supervisor/fleet internal/boot internal/env",
	"proxy":      "proxy/app internal/boot",
	"healthd":    "supervisor/fleet internal/boot internal/certificate internal/env",
	"migrator": "migrator/migrate migrator/schema migrator/importer migrator/litellm migrator/audit proxy/store proxy/seal proxy/identity " +
		"proxy/chain proxy/money proxy/bill proxy/journal proxy/price internal/boot internal/env internal/postgres supervisor/fleet",

	// Contracts: owned by one program, readable by the others, std only.
	"supervisor/fleet": "",
	"migrator/schema":  "",

	"migrator/migrate":  "migrator/schema internal/postgres",
	"migrator/litellm":  "proxy/identity proxy/money proxy/seal proxy/store",
	"migrator/audit":    "proxy/chain proxy/seal proxy/store",
	"migrator/importer": "migrator/litellm proxy/store proxy/seal proxy/identity proxy/money internal/postgres internal/env",

	// The VM image's own program; it links nothing of the gateway.
	"image/vm/firstboot": "internal/boot internal/env",

	// The proxy, from the inside out.
	"proxy/llm":      "",
	"proxy/sock":     "",
	"proxy/sse":      "proxy/llm",
	"proxy/jsonscan": "proxy/llm",
	"proxy/dialect":  "proxy/llm proxy/sse proxy/jsonscan",
	"proxy/provider": "proxy/llm proxy/sse proxy/jsonscan",
	"proxy/upstream": "proxy/llm proxy/sock",
	"proxy/money":    "",
	"proxy/identity": "proxy/money",
	"proxy/access":   "proxy/identity proxy/money",
	"proxy/chain":    "",
	"proxy/store":    "proxy/identity proxy/money proxy/chain proxy/bill proxy/llm internal/postgres",
	"proxy/seal":     "internal/env",
	"proxy/auth":     "proxy/llm proxy/identity proxy/access proxy/money proxy/seal proxy/limit proxy/budget proxy/bill supervisor/fleet",
	"proxy/admin": "proxy/llm proxy/identity proxy/access proxy/auth proxy/store proxy/money proxy/seal proxy/price " +
		"proxy/jsonscan proxy/window proxy/llm proxy/budget proxy/bill proxy/tokens proxy/usage",
	"proxy/bill":    "proxy/llm proxy/money",
	"proxy/usage":   "proxy/llm proxy/jsonscan proxy/money",
	"proxy/window":  "",
	"proxy/tokens":  "",
	"proxy/price":   "proxy/money proxy/llm",
	"proxy/redis":   "",
	"proxy/invoice": "proxy/llm proxy/money proxy/upstream internal/env",
	"proxy/limit":   "proxy/redis supervisor/fleet",
	"proxy/budget":  "proxy/bill proxy/money proxy/window supervisor/fleet",
	"proxy/journal": "proxy/bill proxy/llm proxy/money",
	"proxy/ledger":  "proxy/journal proxy/bill proxy/llm proxy/money proxy/price proxy/store supervisor/fleet",
	"proxy/route":   "proxy/llm",
	"proxy/gateway": "proxy/llm proxy/auth proxy/identity proxy/access proxy/route proxy/provider proxy/upstream proxy/sse proxy/jsonscan " +
		"proxy/limit proxy/budget proxy/price proxy/bill proxy/journal proxy/tokens proxy/usage proxy/money supervisor/fleet",
	"proxy/server": "proxy/gateway proxy/admin proxy/dialect proxy/llm proxy/auth proxy/access proxy/route proxy/sock " +
		"internal/certificate supervisor/fleet",
	"proxy/config":  "internal/env proxy/llm proxy/seal proxy/money proxy/window",
	"proxy/feed":    "proxy/store proxy/identity supervisor/fleet",
	"proxy/observe": "proxy/redis supervisor/fleet migrator/schema internal/postgres",
	"proxy/app":     "*",

	// Plumbing: no word of LLMs in it.
	"internal/certificate": "",
	"internal/boot":        "internal/env",
	"internal/env":         "",
	"internal/postgres":    "",

	// Test support.
	"internal/archtest":             "",
	"internal/fakeprovider":         "",
	"internal/logtest":              "",
	"internal/redistest":            "internal/env",
	"internal/postgres/pgtest":      "internal/env",
	"internal/certificate/certtest": "",
	"internal/dbtest":               "migrator/migrate migrator/schema internal/postgres internal/postgres/pgtest",
	"internal/e2e": "supervisor/fleet internal/fakeprovider internal/postgres/pgtest internal/redistest " +
		"benchmarks/loadgen",
	"internal/imagetest": "supervisor/fleet internal/e2e internal/fakeprovider internal/postgres/pgtest internal/redistest benchmarks/loadgen",

	"benchmarks/loadgen":      "",
	"benchmarks/load":         "benchmarks/loadgen internal/fakeprovider",
	"benchmarks/fakeprovider": "internal/fakeprovider",
	"benchmarks/bareproxy":    "",
	"benchmarks/compare":      "benchmarks/loadgen internal/fakeprovider",
}

var (
	programs = []string{"supervisor", "proxy", "healthd", "migrator"}

	// stdOnly are the contracts and the model that all others speak.
	stdOnly = []string{"supervisor/fleet", "migrator/schema", "proxy/llm"}

	testSupport = []string{
		"internal/archtest", "internal/e2e", "internal/imagetest", "internal/fakeprovider", "internal/logtest",
		"internal/postgres/pgtest", "internal/redistest", "internal/dbtest", "internal/certificate/certtest",
	}
)
